// Compares two scripts: are they the same but for the names of variables and of private members?
//
// Both are parsed, and both trees are walked at once. Two names are the same when both name the
// variable of one declaration, or when neither is declared and they are equal. So a script without
// a difference does what the other does. `const` may become `let`, unless something assigns it.
// One declaration of two variables is the same as two declarations that follow each other. The
// first script's constants with a number or a string are values in the second one.

import { parse } from 'acorn';

/** @typedef {Record<string, any> & { type: string }} Node */
/** @typedef {Map<string, object>} Names a meaning for each name */
/** @typedef {{ one: Names, two: Names }} Scope the names that one place of each script declares */

const PLACES = new Set(['type', 'start', 'end']);
const MEMBERS = new Set(['Property', 'MethodDefinition', 'PropertyDefinition', 'MemberExpression']);
const FUNCTIONS = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);
const CLASSES = new Set(['ClassDeclaration', 'ClassExpression']);
const LOOPS = new Set(['ForStatement', 'ForInStatement', 'ForOfStatement']);
const JUMPS = new Set(['LabeledStatement', 'BreakStatement', 'ContinueStatement']);

/** @param {string} one @param {string} two @returns {string} the first difference, "" for none */
export const difference = (one, two) => {
  try {
    const options = { ecmaVersion: 2022, sourceType: 'module' };
    // @ts-expect-error: acorn types its options as literals
    const [a, b] = [parse(one, options), parse(two, options)];
    new Comparison(taken(a)).compare(a, b);
    return '';
  } catch (error) {
    return String(error);
  }
};

/** @param {unknown} isSame @param {string} what @param {any} a @param {any} b */
const check = (isSame, what, a, b) => {
  const [one, two] = [a, b].map((it) => `${it?.type} ${it?.name ?? ''} at ${it?.start}`);
  if (!isSame) throw new Error(`${what}: ${one}, ${two}`);
};

/** @param {any} pattern @returns {Node[]} the names that a pattern declares or assigns */
const names = (pattern) => {
  if (pattern?.type === 'Identifier') return [pattern];
  const inner = pattern?.properties ?? pattern?.elements;
  if (inner) return inner.flatMap(names);
  const one = { Property: 'value', RestElement: 'argument', AssignmentPattern: 'left' };
  const part = one[/** @type {keyof typeof one} */ (pattern?.type)];
  return part ? names(pattern[part]) : [];
};

/** @param {any[]} statements @returns {Node[]} the names that a block of them declares */
const declared = (statements) =>
  statements.flatMap((it) => {
    if (it?.type === 'VariableDeclaration') {
      return it.declarations.flatMap((/** @type {Node} */ one) => names(one.id));
    }
    return ['FunctionDeclaration', 'ClassDeclaration'].includes(it?.type) ? [it.id] : [];
  });

/** @param {any[]} nodes @returns {any[]} nodes; of statements, one for each declared variable */
const apart = (nodes) =>
  nodes.flatMap((it) => {
    if (it?.type !== 'VariableDeclaration') return [it];
    return it.declarations.map((/** @type {Node} */ one) => ({ ...it, declarations: [one] }));
  });

/** Take the constants with a number or a string out of a script. @param {any} script */
const taken = (script) => {
  /** @type {Map<string, string | number>} */
  const values = new Map();
  const whole = script.body[0]?.expression?.callee?.body ?? script; // (() => { … })();
  whole.body = whole.body.filter((/** @type {any} */ { kind, declarations: [it, more] = [] }) => {
    const value = it?.init?.value;
    const isValue = ['number', 'string'].includes(typeof value) && /^[A-Z][A-Z\d_]*$/.test(it.id.name);
    if (kind !== 'const' || more || !isValue) return true;
    check(!values.has(it.id.name), 'declared again', it, it);
    values.set(it.id.name, value);
    return false;
  });
  return values;
};

class Comparison {
  /** @type {Scope[]} */
  #scopes = [];
  /** Of the class around what is compared; no class is in another one. @type {Scope} */
  #privates = { one: new Map(), two: new Map() };
  /** @type {Set<unknown>} */
  #constants = new Set();
  /** @type {[Node, object | undefined][]} */
  #assigned = [];

  /** @param {Map<string, string | number>} values of constants that only the first script has */
  constructor(values) {
    this.values = values;
  }

  /** Throw an Error for the first difference. @param {Node} a @param {Node} b */
  compare(a, b) {
    this.#pair(a, b);
    for (const [it, meaning] of this.#assigned) {
      check(!this.#constants.has(meaning), 'assigned constant', it, it);
    }
  }

  /** @param {any} a @param {any} b */
  #pair(a, b) {
    if (a?.type === 'Identifier' && this.values.has(a.name) && !this.#meaning('one', a)) {
      return check(b?.type === 'Literal' && b.value === this.values.get(a.name), 'value', a, b);
    }
    check(a?.type === b?.type, 'kind', a, b);
    if (!a) return;
    if (a.type === 'Identifier') this.#variable(a, b);
    else if (a.type === 'PrivateIdentifier') this.#declare(this.#privates, a, b);
    else if (a.type === 'VariableDeclaration') this.#variables(a, b);
    else if (FUNCTIONS.has(a.type)) this.#function(a, b);
    else if (CLASSES.has(a.type)) this.#class(a, b);
    else if (MEMBERS.has(a.type)) this.#member(a, b);
    else if (JUMPS.has(a.type)) this.#named(a, b, 'label');
    else if (a.type === 'MetaProperty') this.#named(a, b, 'property');
    else if (typeof a.value === 'number') check(a.value === b.value, 'number', a, b);
    else this.#block(a, b);
  }

  /** @param {Node} a @param {Node} b */
  #variable(a, b) {
    const [one, two] = [this.#meaning('one', a), this.#meaning('two', b)];
    check(one === two && (one || (a.name === b.name && a.name !== 'eval')), 'variable', a, b);
  }

  /** @param {Node} a @param {Node} b */
  #variables(a, b) {
    const isSame = a.kind === b.kind || (a.kind === 'const' && b.kind === 'let');
    check(isSame && a.kind !== 'var', 'declaration', a, b);
    const constants = a.kind === 'const' ? declared([a]) : [];
    constants.forEach((it) => this.#constants.add(this.#meaning('one', it)));
    this.#parts(a, b, ['kind']);
  }

  /** @param {Node} a @param {Node} b */
  #function(a, b) {
    if (a.type === 'FunctionDeclaration') this.#pair(a.id, b.id);
    const [one, two] = [a, b].map((it) => it.params.flatMap(names));
    this.#checkParameters(a, one);
    this.#checkParameters(b, two);
    const inside = () => this.#scope(one, two, () => this.#parts(a, b, ['id']));
    this.#scope(a.id ? [a.id] : [], b.id ? [b.id] : [], inside);
  }

  /** @param {Node} it @param {Node[]} parameters */
  #checkParameters(it, parameters) {
    const inner = declared([it.body.body].flat()).map(({ name }) => name);
    check(!parameters.some(({ name }) => inner.includes(name)), 'declared again', it, it);
  }

  /** @param {Node} a @param {Node} b */
  #class(a, b) {
    this.#privates = { one: new Map(), two: new Map() };
    if (a.type === 'ClassDeclaration') this.#pair(a.id, b.id);
    const inside = () => this.#parts(a, b, ['id']);
    this.#scope(a.id ? [a.id] : [], b.id ? [b.id] : [], inside);
  }

  /** @param {Node} a @param {Node} b */
  #member(a, b) {
    const part = a.type === 'MemberExpression' ? 'property' : 'key';
    if (!a.computed && a[part].type === 'Identifier') this.#named(a, b, part);
    else this.#parts(a, b, ['shorthand']);
  }

  /** Compare two nodes with a name that is no variable. @param {Node} a @param {Node} b */
  #named(a, b, /** @type {string} */ part) {
    const [one, two] = [a[part], b[part]];
    check(one?.type === two?.type && one?.name === two?.name, 'name', one, two);
    this.#parts(a, b, [part, 'shorthand']);
  }

  /** Compare nodes that may declare names for what is in them. @param {Node} a @param {Node} b */
  #block(a, b) {
    if (a.type === 'AssignmentExpression') this.#assign(a.left);
    else if (a.type === 'UpdateExpression') this.#assign(a.argument);
    else if (LOOPS.has(a.type)) this.#assign(a.left);
    const [one, two] = [a, b].map((it) => {
      if (it.type === 'CatchClause') return names(it.param);
      if (LOOPS.has(it.type)) return declared([it.init ?? it.left]);
      if (it.type === 'SwitchStatement') {
        return declared(it.cases.flatMap((/** @type {Node} */ { consequent }) => consequent));
      }
      return Array.isArray(it.body) ? declared(it.body) : [];
    });
    this.#scope(one, two, () => this.#parts(a, b));
  }

  /** Compare all parts of two nodes, but some. @param {Node} a @param {Node} b */
  #parts(a, b, /** @type {string[]} */ without = []) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
      if (PLACES.has(name) || without.includes(name)) continue;
      const [one, two] = [a[name], b[name]];
      if (Array.isArray(one)) {
        const [ones, twos] = [apart(one), apart(two ?? [])];
        check(ones.length === twos.length, name, a, b);
        ones.forEach((it, at) => this.#pair(it, twos[at]));
      } else if (one?.type) this.#pair(one, two);
      else check(JSON.stringify(one) === JSON.stringify(two), name, a, b);
    }
  }

  // -- names

  /** Compare what is inside of a scope with these names. @param {Node[]} one @param {Node[]} two */
  #scope(one, two, /** @type {() => void} */ inside) {
    check(one.length === two.length, 'declarations', one[0], two[0]);
    const scope = { one: new Map(), two: new Map() };
    one.forEach((it, at) => this.#declare(scope, it, two[at]));
    this.#scopes.push(scope);
    inside();
    this.#scopes.pop();
  }

  /** Give two names one meaning, which both have or neither. @param {Scope} scope */
  #declare(scope, /** @type {Node} */ a, /** @type {Node} */ b) {
    const known = scope.one.get(a.name);
    check(known === scope.two.get(b.name), 'declared name', a, b);
    const meaning = known ?? {};
    scope.one.set(a.name, meaning);
    scope.two.set(b.name, meaning);
  }

  /** @param {'one' | 'two'} side @param {Node} name @returns {object | undefined} */
  #meaning(side, { name }) {
    return this.#scopes.findLast((it) => it[side].has(name))?.[side].get(name);
  }

  /** Note the variables that a pattern assigns. @param {any} pattern */
  #assign(pattern) {
    for (const it of names(pattern)) this.#assigned.push([it, this.#meaning('one', it)]);
  }
}
