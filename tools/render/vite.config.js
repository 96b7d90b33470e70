import react from '@vitejs/plugin-react';

// One copy of what keeps state between packages; Grafana's packages expect a `process` and a `global`.
export default {
  plugins: [react()],
  define: { 'process.env': {}, global: 'globalThis' },
  build: { chunkSizeWarningLimit: 20000 },
  resolve: { dedupe: ['react', 'react-dom', '@emotion/react', '@emotion/css', '@grafana/data', '@grafana/ui'] },
};
