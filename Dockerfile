FROM python:3.13-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
# The runtime's lock comes first: a change of the code doesn't install it again. Wheels only, so no compiler is needed.
COPY requirements.txt ./
RUN python -m venv --without-pip /app \
 && pip --python /app/bin/python install --require-hashes --only-binary :all: -r requirements.txt
COPY requirements-build.txt ./
RUN pip install --require-hashes --only-binary :all: -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
# Compiled here, since nothing can be written where it runs; by content, so that the same sources make the same bytes.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && pip --python /app/bin/python install --no-deps --no-index /dist/*.whl \
 && /app/bin/python -m compileall -q --invalidation-mode unchecked-hash /app/lib

FROM python:3.13-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="telnyx-session-exporter" \
      org.opencontainers.image.description="A Prometheus exporter for Telnyx usage sessions: every event's cost, booked exactly once." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-bookworm"
COPY --from=build /app /app
# The ledger's default path is relative, so it lies in the volume.
WORKDIR /data
# The base image comes without compiled modules of the standard library: to compile them takes a second at each start.
RUN chown 65534:65534 /data \
 && python -m compileall -q --invalidation-mode unchecked-hash -x '/(site-packages|ensurepip|idlelib|tkinter|turtledemo)/' \
    /usr/local/lib/python3.13
VOLUME /data
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65534:65534
EXPOSE 9464
STOPSIGNAL SIGTERM
# It finds out by itself whether the port speaks TLS, and needs neither a password nor a certificate.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["telnyx-session-exporter", "healthcheck"]
ENTRYPOINT ["telnyx-session-exporter"]
CMD ["run"]
