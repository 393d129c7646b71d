// The OpenAPI document, for people: each path with what it takes, what it gives, and a line that asks it.

import { carryToken, element } from './dom.js';

const document_ = await (await fetch('openapi.json')).json();
const example = JSON.stringify({ drawing: document_.components.schemas.Drawing.properties.drawing.examples[0] });

function listing(text) {
  const made = element('pre', text);
  made.tabIndex = 0; // it may have to be scrolled
  return made;
}

function operation([path, methods]) {
  const [[method, { summary, parameters = [], requestBody, responses }]] = Object.entries(methods);
  const url = new URL(path.slice(1), location).href;
  const asks = requestBody ? ` -H 'Content-Type: application/json' \\\n  -d '${example}'` : '';
  const types = Object.keys(requestBody?.content ?? {});
  const list = element(
    'ul',
    ...parameters.map(({ name, description }) => element('li', element('code', `?${name}=`), ` ${description}`)),
    ...(types.length ? [element('li', `A body of type ${types.join(', ')}.`)] : []),
    ...Object.entries(responses).map(([status, { description }]) => element('li', element('b', status), ` ${description}`)),
  );
  return element('section', element('h2', `${method.toUpperCase()} ${path}`), element('p', summary), list, listing(`curl ${url}${asks}`));
}

carryToken();
document.getElementById('description').textContent = document_.info.description;
document.getElementById('paths').append(
  ...Object.entries(document_.paths).map(operation),
  element('section', element('h2', 'Types'), listing(JSON.stringify(document_.components.schemas, null, 2))),
);
