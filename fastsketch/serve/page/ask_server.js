// Asks the server that the page came from.

const TOKEN = location.hash.slice(1);
addEventListener('hashchange', () => location.reload());

/** Bytes of a body that a server reads, pixels of a picture, and types. */
const MOST = { bytes: 4 * 2 ** 20, pixels: 24e6 };
const TYPES = ['png', 'jpeg', 'webp', 'gif', 'bmp'].map((name) => `image/${name}`);

/** Milliseconds after which nobody waits for an answer. */
const PATIENCE = 40_000;

/** Pixels of the longest side of a picture that is made smaller to be sent. */
const SMALLER = 1600;

/** @returns {Promise<{model: string, classes: string[], size: number, gallery: boolean}>} */
export const model = () => call('api/model');

/** @param {object} sketch - a `Sheet`'s, in the making @returns {Promise<object>} the API's `Answer`, with what the model sees */
export const predict = async (sketch) => call('api/predict?sight=1&draft=1', await body(sketch));

/** Let the server keep what was drawn, where it was told to. @param {object} sketch - a `Sheet`'s, when it is done */
export const keep = async (sketch) => call('api/predict', await body(sketch));

/** @param {object} sketch - a `Sheet`'s @returns {Promise<object[]>} the API's `Neighbour`s */
export const neighbours = async (sketch) => (await call('api/neighbours?draft=1', await body(sketch))).neighbours;

async function body(sketch) {
  if (!sketch.picture) return new Blob([JSON.stringify(sketch)], { type: 'application/json' });
  const { blob, bitmap } = sketch.picture;
  const fits = blob.size <= MOST.bytes && bitmap.width * bitmap.height <= MOST.pixels && TYPES.includes(blob.type);
  return fits ? blob : smaller(bitmap);
}

function smaller(bitmap) {
  const scale = Math.min(1, SMALLER / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.ceil(bitmap.width * scale), Math.ceil(bitmap.height * scale));
  const pen = canvas.getContext('2d');
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 });
}

async function call(path, content) {
  const headers = TOKEN ? { Authorization: `Bearer ${TOKEN}` } : {};
  if (content) headers['Content-Type'] = content.type;
  const method = content ? 'POST' : 'GET';
  const answer = await fetch(path, { method, headers, body: content, signal: AbortSignal.timeout(PATIENCE) });
  const found = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
  const retry = Number(answer.headers.get('Retry-After'));
  if (!answer.ok) throw Object.assign(new Error([found.error, found.hint].filter(Boolean).join('; ')), { retry });
  return found;
}
