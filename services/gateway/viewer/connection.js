/**
 * One WebSocket to the gateway: text in and out as JSON, binary in, and one word when it is lost.
 *
 * After `abandon` nothing of it is heard any more, so a session never hears two connections. It
 * knows no session and no message but their form.
 */

import { SESSION_PATH, SUBPROTOCOL, SessionError, parseFrame } from "./protocol.js";

const OPEN = 1;
const CLOSE_NORMAL = 1000;

export class Connection {
  #socket;
  #handlers;
  #env;
  #timer;

  /**
   * @param {string} url http(s) or ws(s) address of the gateway
   * @param env how to connect and wait
   * @param handlers onOpen, onMessage, onFrame, onLost and `openSeconds` to wait for the first
   */
  constructor(url, env, handlers) {
    this.#env = env;
    this.#handlers = handlers;
    const words = `The gateway did not answer within ${handlers.openSeconds} seconds.`;
    this.#timer = env.setTimeout(
      () => this.#lose(new SessionError("timeout", words)),
      handlers.openSeconds * 1000,
    );
    this.#socket = env.connect(sessionUrl(url), SUBPROTOCOL);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      env.clearTimeout(this.#timer);
      handlers.onOpen();
    };
    this.#socket.onmessage = ({ data }) => this.#take(data);
    this.#socket.onclose = ({ code, reason }) => {
      const words = reason || "The connection to the gateway broke.";
      this.#lose(SessionError.ofClose(code, reason) ?? new SessionError("disconnected", words));
    };
  }

  get isOpen() {
    return this.#socket.readyState === OPEN;
  }

  send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  /** Close, and hear nothing more. */
  abandon() {
    this.#env.clearTimeout(this.#timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(CLOSE_NORMAL);
  }

  #take(data) {
    if (typeof data === "string") {
      const message = this.#parse(JSON.parse, data);
      if (message) this.#handlers.onMessage(message);
    } else {
      const frame = this.#parse(parseFrame, data);
      if (frame) this.#handlers.onFrame(frame, data.byteLength);
    }
  }

  #parse(parser, data) {
    try {
      return parser(data);
    } catch (error) {
      if (!(error instanceof SessionError || error instanceof SyntaxError)) throw error;
      this.#lose(new SessionError("bad_message", `The gateway sent nonsense: ${error.message}`));
      return null;
    }
  }

  #lose(error) {
    this.abandon();
    this.#handlers.onLost(error);
  }
}

/** The address of the gateway's sessions, whichever way the gateway's own address is written. */
export function sessionUrl(url) {
  const address = new URL(SESSION_PATH, url);
  address.protocol = address.protocol.replace(/^http/, "ws");
  return address.href;
}
