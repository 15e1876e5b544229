// The clips' files, fetched whole, so that seeking never waits; what is neither shown nor announced is let go.
const GONE = [403, 404, 410]; // not there, or not for this person: asking again does not help

async function fetched(url) {
  try {
    const reply = await fetch(url);
    if (reply.ok) return URL.createObjectURL(await reply.blob());
    return GONE.includes(reply.status) ? null : undefined;
  } catch {
    return undefined;
  }
}

export function playerFiles() {
  const files = new Map(); // url -> promise of what `get` returns

  return {
    // A promise of a blob: address, of null where the file is gone, of undefined where no answer came.
    get(url) {
      if (!files.has(url)) {
        const pending = fetched(url);
        files.set(url, pending);
        // Without an answer it is asked for again.
        pending.then((address) => address === undefined && files.get(url) === pending && files.delete(url));
      }
      return files.get(url);
    },

    keepOnly(urls) {
      for (const [url, pending] of files) {
        if (urls.has(url)) continue;
        files.delete(url);
        pending.then((address) => address && URL.revokeObjectURL(address));
      }
    },
  };
}
