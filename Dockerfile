FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The runtime's lock comes first: a change of the code doesn't install it again.
COPY requirements.txt ./
RUN python -m venv --without-pip /app \
 && pip --python /app/bin/python install --require-hashes --only-binary :all: -r requirements.txt
# The wheel is built by the locked hatchling; all of its lock stays behind in this stage.
COPY requirements-dev.txt ./
RUN pip install --no-compile --require-hashes -r requirements-dev.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && pip --python /app/bin/python install --no-deps --no-index /dist/*.whl

FROM python:3.13-slim
COPY --from=build /app /app
# The ledger's default path is relative, so it lies in the volume.
WORKDIR /data
RUN chown 65534:65534 /data
VOLUME /data
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65534:65534
EXPOSE 9464
# http.client, because urllib would ask a proxy from the environment for the container's own port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python", "-c", "from http.client import HTTPConnection; c = HTTPConnection('127.0.0.1', 9464, timeout=4); c.request('GET', '/-/healthy'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["telnyx-session-exporter"]
CMD ["run"]
