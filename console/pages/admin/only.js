// Pages for operators.
import { html } from "../../lib/html.js";
import { allowed } from "../../lib/api.js";
import { Card, Empty, Page } from "../../lib/ui.js";

/** @param {{title: string, children?: any}} props */
export const OnlyAdmins = ({ title, children }) =>
  allowed("admin") ? children : html`<${Page} title=${title}><${Card}><${Empty} icon="lock" title="Only for operators"><p>This page needs a key with the role admin.</p><//><//><//>`;
