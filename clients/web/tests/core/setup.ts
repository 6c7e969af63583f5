// Node has a WebSocket of its own from 22 on only.
import { WebSocket } from "ws";

Object.assign(globalThis, { WebSocket });
