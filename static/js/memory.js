// The browser's memory: settings for all pages, scroll positions for one window.

import { safely } from './time.js';

/** @typedef {'localStorage' | 'sessionStorage'} Storage */

/** Return null where nothing is stored or the browser forbids storage. @param {Storage} storage @param {string} name */
export const recall = (storage, name) =>
  safely(() => JSON.parse(window[storage].getItem(`liveblog:${name}`) ?? ''));

/** @param {Storage} storage @param {string} name @param {any} value */
export const remember = (storage, name, value) =>
  safely(() => window[storage].setItem(`liveblog:${name}`, JSON.stringify(value)));
