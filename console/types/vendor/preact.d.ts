// Of what is in console/vendor, as far as the console uses it.
export function Fragment(props: { children?: any }): any;
export function h(type: any, props: any, ...children: any[]): any;
export function render(what: any, into: Element): void;
