// Requests that change something get a key of their own (app/middleware/idempotency.py): a request without an answer is
// sent again, and the server does its work once.
const RESENT_MS = [300, 1000, 3000];
const KEYED = /\/gradio_api\/(queue\/join|component_server|upload)/;
const send = window.fetch.bind(window);

const unique = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const isKeyed = (address, init) =>
  KEYED.test(address) && init?.method?.toUpperCase() === "POST" && !(init.body instanceof ReadableStream);

window.fetch = async (input, init) => {
  if (!isKeyed(String(input?.url ?? input), init)) return send(input, init);
  const headers = new Headers(init.headers);
  headers.set("idempotency-key", unique());
  for (const wait of [...RESENT_MS, null]) {
    try {
      return await send(input, { ...init, headers });
    } catch (error) {
      if (wait === null || init.signal?.aborted) throw error;
      await new Promise((done) => setTimeout(done, wait));
    }
  }
};
