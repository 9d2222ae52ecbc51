// Passes on the messages that contain a pattern, in upper case (ASCII), with their keys.
//
// Configuration: `pattern`, text to look for, `error` unless set; `output`, where the messages go, `console.filtered`
// unless set.
//
// It works on bytes: QuickJS has no TextDecoder, and decoding would cost more than the rest.

import { get } from "shardmill:task/config@0.1.0";
import { output, send } from "shardmill:task/collector@0.1.0";

// Read at the first call: what stands at the top level runs when the component is built.
let settings;

export const batchProcessor = {
  processBatch(envelopes) {
    envelopes.forEach(({ key, message }, index) => {
      try {
        settings ??= { output: output(get("output") ?? "console.filtered"), pattern: utf8(get("pattern") ?? "error") };
        if (contains(message, settings.pattern)) {
          send(settings.output, key, message.map(upperCase));
        }
      } catch (error) {
        // An error that is thrown as it is would end the instance.
        throw { index, error: { tag: "other", val: describe(error) } };
      }
    });
  },
};

function contains(message, pattern) {
  if (pattern.length === 0) {
    return true;
  }
  for (let at = message.indexOf(pattern[0]); at !== -1; at = message.indexOf(pattern[0], at + 1)) {
    if (pattern.every((byte, offset) => message[at + offset] === byte)) {
      return true;
    }
  }
  return false;
}

function upperCase(byte) {
  return byte >= 97 && byte <= 122 ? byte - 32 : byte;
}

function utf8(text) {
  return Array.from(unescape(encodeURIComponent(text)), (character) => character.charCodeAt(0));
}

// An error that the host returns arrives as an Error with the value of the contract as its payload.
function describe(error) {
  return error.payload === undefined ? `${error}\n${error.stack}` : JSON.stringify(error.payload);
}
