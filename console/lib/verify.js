// Signatures of Standard Webhooks: checked in the browser, and as programs that check one request.

/** @param {string} text */
const utf8 = (text) => new TextEncoder().encode(text);

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
export const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** @param {ArrayBuffer} bytes */
const encoded = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));

/**
 * The request that is checked.
 * @typedef {{id: string, timestamp: string, signatures: string[], body: Uint8Array<ArrayBuffer>, text: string | null}} Signed
 */

/** Return what an attempt has of a signature; null without one. @param {Api.Attempt} attempt @param {{bytes: Uint8Array<ArrayBuffer>, text: string | null}} payload @returns {Signed | null} */
export function signedBy(attempt, payload) {
  const headers = new Map((attempt?.details?.request_headers || []).map(({ name, value }) => [name.toLowerCase(), value]));
  const signature = headers.get("webhook-signature");
  if (!signature || !payload) return null;
  return { id: headers.get("webhook-id"), timestamp: headers.get("webhook-timestamp"), signatures: signature.split(" "), body: payload.bytes, text: payload.text };
}

/** @param {Signed} signed */
function content(signed) {
  const head = utf8(`${signed.id}.${signed.timestamp}.`);
  const whole = new Uint8Array(head.length + signed.body.length);
  whole.set(head);
  whole.set(signed.body, head.length);
  return whole;
}

/**
 * Return whether a secret, or a public key, has made one of the signatures. The secret does not leave the browser.
 * @param {Signed} signed @param {string} secret
 */
export async function verify(signed, secret) {
  if (!crypto.subtle) throw new Error("The browser verifies only on pages that are served over https, or from this machine.");
  if (secret.startsWith("whpk_")) {
    const key = await crypto.subtle.importKey("raw", decoded(secret.slice(5)), "Ed25519", false, ["verify"]);
    const made = signed.signatures.filter((one) => one.startsWith("v1a,"));
    const valid = await Promise.all(made.map((one) => crypto.subtle.verify("Ed25519", key, decoded(one.slice(4)), content(signed))));
    return valid.some(Boolean);
  }
  const bare = secret.replace(/^v1,/, "");
  const bytes = bare.startsWith("whsec_") ? decoded(bare.slice(6)) : utf8(secret);
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const expected = `v1,${encoded(await crypto.subtle.sign("HMAC", key, content(signed)))}`;
  return signed.signatures.includes(expected);
}

const MOST = 4096;

/**
 * Return programs that check this request.
 * @param {Signed} signed @returns {Record<string, string>}
 */
export function programs(signed) {
  const inline = signed.text !== null && signed.text.length <= MOST;
  const body = JSON.stringify(inline ? signed.text : "payload.json");
  const received = signed.signatures.filter((one) => one.startsWith("v1,")).join(" ");
  const head = `${signed.id}.${signed.timestamp}.`;
  return {
    Python: `import base64, hashlib, hmac, os

secret = os.environ["WEBHOOK_SECRET"]  # whsec_…, from when the subscription was created
body = ${inline ? `${body}.encode()` : `open(${body}, "rb").read()  # the raw bytes, before anything parses them`}
received = "${received}"

key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
digest = hmac.new(key, b"${head}" + body, hashlib.sha256).digest()
expected = "v1," + base64.b64encode(digest).decode()
print("valid" if any(hmac.compare_digest(expected, one) for one in received.split()) else "NOT valid")
`,
    Node: `import { createHmac } from 'node:crypto';
${inline ? "" : "import { readFileSync } from 'node:fs';\n"}
const secret = process.env.WEBHOOK_SECRET; // whsec_…, from when the subscription was created
const body = ${inline ? `Buffer.from(${body})` : `readFileSync(${body}) // the raw bytes, before anything parses them`};
const received = '${received}';

const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);
const expected = 'v1,' + createHmac('sha256', key).update('${head}').update(body).digest('base64');
console.log(received.split(' ').includes(expected) ? 'valid' : 'NOT valid');
`,
    Go: `package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

func main() {
	secret := os.Getenv("WEBHOOK_SECRET") // whsec_…, from when the subscription was created
	${inline ? `body := []byte(${body})` : `body, _ := os.ReadFile(${body}) // the raw bytes, before anything parses them`}
	received := "${received}"

	key := []byte(secret)
	if encoded, found := strings.CutPrefix(secret, "whsec_"); found {
		key, _ = base64.StdEncoding.DecodeString(encoded)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("${head}"))
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, one := range strings.Fields(received) {
		if hmac.Equal([]byte(one), []byte(expected)) {
			fmt.Println("valid")
			return
		}
	}
	fmt.Println("NOT valid")
}
`,
  };
}
