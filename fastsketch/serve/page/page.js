// The page: tools, the question that is on its way, and what came of it.

import * as asking from './ask.js';
import { carryToken, element } from './dom.js';
import { Sheet } from './sheet.js';

/** Milliseconds between a change and the question about it: a line in the making is asked about now and then. */
const PAUSE = { drawing: 120, done: 0 };

/** Milliseconds of rest before training sketches are looked for, and a drawing is taken to be finished. */
const REST = 400;

const $ = (id) => document.getElementById(id);
const say = (problem) => ($('problem').textContent = problem);
const sheet = new Sheet($('sheet'), changed);
const undo = () => sheet.undo();
const clear = () => sheet.clear();
let model = { classes: [], gallery: false };
let wished = null;
let answer = null;
let version = 0; // of the sheet: an answer about an older one is still shown, but then the newest is asked about
let cleared = 0; // the version with nothing on the sheet: of one before it no answer is shown any more
let underway = false;
let soon = 0;
let later = 0;

// ---------------------------------------------------------------------------------------------------------- asking

function changed(done) {
  version += 1;
  $('undo').disabled = $('clear').disabled = $('png').disabled = $('ask').disabled = sheet.empty;
  $('strokes').disabled = !sheet.strokes.length;
  clearTimeout(later);
  $('answer').ariaBusy = String(!sheet.empty);
  if (sheet.empty) return forget();
  if (done) clearTimeout(soon);
  if (done || !soon) soon = setTimeout(ask, done ? PAUSE.done : PAUSE.drawing);
}

/** Ask about the sheet as it is; one question is on its way at a time, and the newest comes next. */
async function ask() {
  soon = 0;
  if (underway || sheet.empty) return;
  underway = true;
  const asked = version;
  try {
    const found = await asking.predict(sheet.sketch);
    say('');
    if (asked > cleared) show(found);
  } catch (error) {
    say(error.message);
    $('answer').ariaBusy = 'false';
    if (error.retry) soon ||= setTimeout(ask, 1000 * error.retry);
    if (asked === version) return;
  } finally {
    underway = false;
  }
  $('answer').ariaBusy = String(asked !== version);
  if (asked !== version) soon ||= setTimeout(ask, 0);
  else later = setTimeout(rest, REST);
}

/** What there is time for when nothing has changed for a while. */
async function rest() {
  const asked = version;
  try {
    if (model.keeps) await asking.keep(sheet.sketch);
    if (!model.gallery) return;
    const found = await asking.neighbours(sheet.sketch);
    if (asked === version) $('neighbours').replaceChildren(...found.map(figure));
  } catch (error) {
    if (asked === version) say(error.message);
  }
}

// --------------------------------------------------------------------------------------------------------- showing

function show(found) {
  answer = found;
  const shares = found.probabilities.map((share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`);
  $('answer').replaceChildren(
    ...found.labels.map((label, place) => {
      const item = element('li', element('span', label), element('span', shares[place]));
      item.style.setProperty('--share', `${100 * found.probabilities[place]}%`);
      return item;
    }),
  );
  $('verdict').textContent = found.labels[0] === wished ? `Yes: ${wished}.` : '';
  showSight(found);
}

async function showSight(found) {
  const { size, image, patches } = found.sight;
  const picture = await loaded(image);
  if (answer !== found) return; // a newer one was faster
  const canvas = $('sight');
  canvas.width = canvas.height = size;
  const pen = canvas.getContext('2d');
  pen.drawImage(picture, 0, 0);
  $('sight-note').textContent = `${size} × ${size} gray pixels`;
  if (!patches) return;
  const kept = new Set(patches.kept);
  const [width, height] = [size / patches.columns, size / patches.rows];
  pen.fillStyle = 'rgb(110 120 140 / 60%)';
  for (let place = 0; place < patches.rows * patches.columns; place += 1) {
    const [row, column] = [Math.floor(place / patches.columns), place % patches.columns];
    if (!kept.has(place)) pen.fillRect(column * width, row * height, width, height);
  }
  $('sight-note').textContent += `, of which it is shown ${kept.size} patches of ${patches.rows * patches.columns}`;
}

async function loaded(url) {
  const picture = Object.assign(element('img'), { src: url });
  await picture.decode();
  return picture;
}

function figure({ label, id, image }) {
  const picture = Object.assign(element('img'), { src: image, alt: `training sketch ${id}` });
  return element('figure', picture, element('figcaption', label));
}

function forget() {
  answer = null;
  cleared = version;
  $('answer').replaceChildren();
  $('neighbours').replaceChildren();
  $('verdict').textContent = 'Draw, drop a picture, or paste one.';
  $('sight-note').textContent = '';
  $('sight').width = $('sight').height = 1;
  say('');
}

// ----------------------------------------------------------------------------------------------------------- tools

function wish() {
  const others = model.classes.filter((name) => name !== wished);
  wished = others[Math.floor(Math.random() * others.length)] ?? wished;
  $('wished').textContent = `Draw: ${wished}`;
}

async function put(blob) {
  try {
    sheet.put({ blob, bitmap: await createImageBitmap(blob) });
  } catch {
    say(`${blob.name ?? 'that'} is no image that a browser can open`);
  }
}

/** What the sheet shows: what was wished for, or else what it is taken for. */
const word = () => wished ?? answer?.labels[0] ?? 'sketch';

function save(blob, suffix) {
  const download = `${word()}.${suffix}`;
  const link = Object.assign(element('a'), { href: URL.createObjectURL(blob), download });
  link.click();
  URL.revokeObjectURL(link.href);
}

/** A line of Quick, Draw!'s form, which `fastsketch convert` and `predict` read. */
const strokes = () =>
  new Blob([`${JSON.stringify({ word: word(), key_id: String(Date.now()), drawing: sheet.strokes })}\n`]);

const images = (items) => [...(items ?? [])].filter((item) => item.type.startsWith('image/'));

$('undo').addEventListener('click', undo);
$('clear').addEventListener('click', clear);
for (const name of ['undo', 'clear']) {
  $(name).addEventListener('click', () => sheet.empty && $('sheet').focus()); // a disabled button cannot keep it
}
$('ask').addEventListener('click', ask);
$('next').addEventListener('click', wish);
$('next').addEventListener('click', clear);
$('width').addEventListener('input', () => {
  sheet.setWidth(2 ** $('width').value);
  $('width').ariaValueText = `${sheet.width.toFixed(2)} times the usual`;
});
$('png').addEventListener('click', async () => save(await sheet.png(), 'png'));
$('strokes').addEventListener('click', () => save(strokes(), 'ndjson'));
$('open').addEventListener('change', (event) => {
  for (const file of event.target.files) put(file);
  event.target.value = '';
});
$('sheet').addEventListener('keydown', (event) => {
  const work = { z: undo, Z: undo, Delete: clear, Backspace: clear, Enter: ask }[event.key];
  if (!work) return;
  event.preventDefault();
  work();
});
addEventListener('paste', (event) => images(event.clipboardData?.files).slice(0, 1).forEach(put));
addEventListener('dragover', (event) => {
  event.preventDefault();
  $('sheet').classList.add('over');
});
addEventListener('dragleave', () => $('sheet').classList.remove('over'));
addEventListener('drop', (event) => {
  event.preventDefault();
  $('sheet').classList.remove('over');
  images(event.dataTransfer?.files).slice(0, 1).forEach(put);
});

carryToken();
changed(true);
try {
  model = await asking.model();
  $('about').textContent = `${model.model}, ${model.classes.length} classes`;
  $('gallery').hidden = !model.gallery;
  wish();
} catch (error) {
  say(error.message);
}
