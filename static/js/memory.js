// Saves values in the browser: settings for all pages (localStorage), and scroll positions for one
// tab (sessionStorage).

import { safely } from './time.js';

/** @typedef {'localStorage' | 'sessionStorage'} Storage */

/**
 * Return a saved value; null when none is saved or the browser forbids storage.
 *
 * @param {Storage} storage @param {string} name
 */
export const recall = (storage, name) =>
  safely(() => JSON.parse(window[storage].getItem(`liveblog:${name}`) ?? ''));

/** @param {Storage} storage @param {string} name @param {any} value */
export const remember = (storage, name, value) =>
  safely(() => window[storage].setItem(`liveblog:${name}`, JSON.stringify(value)));
