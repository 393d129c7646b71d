// Asks the model in the browser itself, by onnxruntime-web: nothing that is drawn leaves the machine.

import { fromPixels } from './image.js';
import * as ort from './ort.wasm.bundle.min.mjs';
import { drawing, STROKE_WIDTH } from './rasterise.js';

ort.env.wasm.numThreads = 1; // more need headers that a plain folder's server does not send
ort.env.wasm.wasmPaths = { wasm: new URL('ort-wasm-simd-threaded.wasm', import.meta.url).href };

const TOPK = 5;

const opened = open();

async function open() {
  const [about, session] = await Promise.all([
    fetch('model.json').then((answer) => answer.json()),
    ort.InferenceSession.create(new URL('model.onnx', import.meta.url).href),
  ]);
  return { about, session };
}

/** @returns {Promise<{model: string, classes: string[], size: number, gallery: boolean}>} */
export const model = async () => (await opened).about;

/** @param {object} sketch - a `Sheet`'s @returns {Promise<object>} as the API's `Answer`, with what the model sees */
export async function predict(sketch) {
  const { about, session } = await opened;
  const pixels = sketch.picture ? read(sketch.picture, about) : drawing(sketch.drawing, about.size, STROKE_WIDTH * sketch.width);
  const images = new ort.Tensor('uint8', pixels, [1, 1, about.size, about.size]);
  const { probabilities } = await session.run({ images });
  const shares = [...probabilities.data];
  const ids = shares.map((_, place) => place).sort((one, other) => shares[other] - shares[one]).slice(0, TOPK);
  return {
    labels: ids.map((id) => about.classes[id]),
    probabilities: ids.map((id) => shares[id]),
    ids,
    sight: { size: about.size, image: url(pixels, about.size) },
  };
}

export const neighbours = async () => [];

function read({ bitmap }, about) {
  if (!about.pictures) throw new Error('this model reads pictures in a way that the page does not know: draw');
  const pen = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
  pen.drawImage(bitmap, 0, 0);
  return fromPixels(pen.getImageData(0, 0, bitmap.width, bitmap.height).data, bitmap.width, bitmap.height, about.size, about.resize);
}

function url(pixels, size) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const image = new ImageData(size, size);
  pixels.forEach((gray, place) => image.data.set([gray, gray, gray, 255], 4 * place));
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas.toDataURL();
}
