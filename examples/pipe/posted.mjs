// Posted interrupts over the pipe, in JavaScript: KVM's sender as of Linux 6.1. Needs node, and nothing else.
//
//     intack run -a "exec:node examples/pipe/posted.mjs"
//
// A routine is a generator: it yields an operation and is given the result. Because it is run from its start for each
// question, with the results so far, it is a pure function of them. docs/protocol.md says what goes over the pipe.
import { createInterface } from "node:readline";

const IN = 1n, EXITING = 2n, EVENT = 1n, ON = 1n;
const PINV = 0xf2, KICK = 0xfd;
let world; // the scenario: vcpus, cpus, vectors, facts, locations

// Operations. Words are BigInt here: a JavaScript number holds 53 bits only.
const load = (at) => ({ op: "load", at });
const store = (at, value) => ({ op: "store", at, value });
const fetchOr = (at, bits) => ({ op: "rmw", at, how: "or", value: bits, mask: bits });
const compareExchange = (at, expect, value) => ({ op: "rmw", at, how: "cas", expect, value });
const sendIpi = (vector, to) => ({ op: "send_ipi", vector, to });
const bit = (vector) => 1n << BigInt(vector % 64);
const fact = (name) => world.facts.includes(name);

function* wakeUp(vcpu) {
  if (yield load(`${vcpu}.blocking`)) yield { op: "wake", thread: vcpu };
}

function* isRunningHere(vcpu) {
  if (!fact("posts-on-own-cpu")) return false;
  const running = yield load(`cpu${yield { op: "cpu_id" }}.running_vcpu`);
  return running.length === 1 && running[0] === vcpu;
}

function* setIrrAndKick(vcpu, vector) {
  yield fetchOr(`${vcpu}.virr[${vector >> 6}]`, bit(vector));
  yield store(`${vcpu}.irr_pending`, 1n);
  yield fetchOr(`${vcpu}.requests`, EVENT);
  yield* wakeUp(vcpu);
  if ((yield compareExchange(`${vcpu}.mode`, IN, EXITING)) === IN) yield sendIpi(KICK, yield load(`${vcpu}.cpu`));
}

const routines = {
  *deliver_interrupt(vcpu, vector) {
    vector = Number(vector);
    if (fact("apicv-inhibited")) return yield* setIrrAndKick(vcpu, vector);
    if (yield fetchOr(`${vcpu}.pid.pir[${vector >> 6}]`, bit(vector))) return;
    if (yield fetchOr(`${vcpu}.pid.control`, ON)) return;
    if ((yield load(`${vcpu}.mode`)) !== IN) yield* wakeUp(vcpu);
    else if (!(yield* isRunningHere(vcpu))) yield sendIpi(PINV, yield load(`${vcpu}.cpu`));
  },
};

// The protocol

function answer({ routine, arguments: args, results }) {
  const run = routines[routine](...args);
  let next = run.next();
  for (const result of results) next = run.next(result);
  return next.done ? { op: "return", value: next.value ?? null } : next.value;
}

const integers = (value) =>
  Array.isArray(value) ? value.map(integers)
  : typeof value === "number" || /^-?0x/.test(value) ? BigInt(value)
  : value;
const parse = (line) => JSON.parse(line, (key, value) => (key === "results" || key === "arguments" ? integers(value) : value));
const print = (reply) =>
  console.log(JSON.stringify(reply, (_, value) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value)));

for await (const line of createInterface({ input: process.stdin })) {
  const message = parse(line);
  if (message.type === "hello") {
    world = message.world;
    print({ type: "hello", version: 1, name: "posted-js", profile: "kvm", routines: Object.keys(routines) });
  } else if (message.type === "step") {
    print({ type: "step", id: message.id, answers: message.questions.map(answer) });
  } else break;
}
process.exit(0);
