// Asks the server that the page came from.

const TOKEN = decodeURIComponent(location.hash.slice(1));

/** Bytes of a body that a server reads. */
const MOST = 4 * 2 ** 20;

/** Pixels of the longest side of a picture that is made smaller to be sent. */
const SMALLER = 1600;

/** @returns {Promise<{model: string, classes: string[], size: number, gallery: boolean}>} */
export const model = () => call('api/model');

/** @param {object} sketch - a `Sheet`'s @returns {Promise<object>} the API's `Answer`, with what the model sees */
export const predict = async (sketch) => call('api/predict?sight=1', await body(sketch));

/** @param {object} sketch - a `Sheet`'s @returns {Promise<object[]>} the API's `Neighbour`s */
export const neighbours = async (sketch) => (await call('api/neighbours', await body(sketch))).neighbours;

async function body(sketch) {
  if (!sketch.picture) return new Blob([JSON.stringify(sketch)], { type: 'application/json' });
  return sketch.picture.size <= MOST ? sketch.picture : smaller(sketch.picture);
}

async function smaller(picture) {
  const bitmap = await createImageBitmap(picture);
  const scale = Math.min(1, SMALLER / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.ceil(bitmap.width * scale), Math.ceil(bitmap.height * scale));
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 });
}

async function call(path, content) {
  const headers = TOKEN ? { Authorization: `Bearer ${TOKEN}` } : {};
  if (content) headers['Content-Type'] = content.type;
  const answer = await fetch(path, { method: content ? 'POST' : 'GET', headers, body: content });
  const found = await answer.json();
  if (!answer.ok) throw new Error([found.error, found.hint].filter(Boolean).join('; '));
  return found;
}
