"""The role injector over the pipe: lines of JSON on standard input and output. docs/protocol.md explains them."""

import json
import sys

IN, EXITING = 1, 2  # vcpu.mode
IRQ_PENDING = 1  # vcpu.requests
KICK = 1  # host SGI that only forces an exit
LEVEL = 40  # this SPI and the PPIs are levels, all others are edges


def is_level(intid):
    return intid == LEVEL or 16 <= intid < 32


def irq(vcpu, intid):
    """Where software keeps an interrupt: SGIs and PPIs are the vCPU's own."""
    return f"{vcpu}.irq{intid}" if intid < 32 else f"irq{intid}"


def load(at):
    return (yield {"op": "load", "at": at})


def store(at, value):
    yield {"op": "store", "at": at, "value": value}


def lock_irqsave(lock):
    on = yield {"op": "interrupts", "on": False}
    yield {"op": "lock", "at": lock}
    return on


def unlock_irqrestore(lock, on):
    yield {"op": "unlock", "at": lock}
    yield {"op": "interrupts", "on": on}


def target_of(vcpu, intid):
    return vcpu if intid < 32 else f"vcpu{(yield from load(f'irq{intid}.target'))}"


def oracle(vcpu, intid):
    """Who should have it: where it is active it stays, what is disabled waits. With irq_lock."""
    own = irq(vcpu, intid)
    if (yield from load(f"{own}.active")):
        owner = yield from load(f"{own}.owner")
        return owner[0] if owner else (yield from target_of(vcpu, intid))
    if not (yield from load(f"{own}.enabled")):
        return None
    if not (yield from load(f"{own}.latch")) and not (is_level(intid) and (yield from load(f"{own}.line"))):
        return None
    return (yield from target_of(vcpu, intid)) if (yield from load("vm.enabled")) else None


def notify(vcpu):
    """The request is what an entry that is on its way sees; a kick wakes it, or makes it exit."""
    yield {"op": "rmw", "at": f"{vcpu}.requests", "how": "or", "value": IRQ_PENDING}
    if (yield {"op": "wake", "thread": vcpu}):
        return
    if (yield {"op": "rmw", "at": f"{vcpu}.mode", "how": "cas", "expect": IN, "value": EXITING}) == IN:
        yield {"op": "send_ipi", "vector": KICK, "to": (yield from load(f"{vcpu}.cpu"))}


def queue_irq_unlock(vcpu, intid, on):
    """Onto the list of whoever should have it, unless it is on one. The locks' order is ap_list_lock, irq_lock: what was
    decided under irq_lock alone is looked at again.
    """
    own = irq(vcpu, intid)
    while True:
        target = yield from oracle(vcpu, intid)
        owner = yield from load(f"{own}.owner")
        yield from unlock_irqrestore(f"{own}.irq_lock", on)
        if target is None:
            return
        if owner:
            yield from notify(owner[0])
            return
        on = yield from lock_irqsave(f"{target}.ap_list_lock")
        yield {"op": "lock", "at": f"{own}.irq_lock"}
        listed = not (yield from load(f"{own}.owner")) and (yield from oracle(vcpu, intid)) == target
        if listed:
            yield from store(f"{target}.ap_list", [*(yield from load(f"{target}.ap_list")), str(intid)])
            yield from store(f"{own}.owner", [target])
        yield {"op": "unlock", "at": f"{own}.irq_lock"}
        yield from unlock_irqrestore(f"{target}.ap_list_lock", on)
        if listed:
            yield from notify(target)
            return
        on = yield from lock_irqsave(f"{own}.irq_lock")


def inject(vcpu, intid, level):
    """The interrupt's line is `level` now; an edge-triggered one is made pending by 1, and 0 is nothing to it."""
    own = irq(vcpu, intid)
    on = yield from lock_irqsave(f"{own}.irq_lock")
    if is_level(intid):
        if (yield from load(f"{own}.line")) == level:  # nothing changes
            yield from unlock_irqrestore(f"{own}.irq_lock", on)
            return
        yield from store(f"{own}.line", level)
    elif level:
        yield from store(f"{own}.latch", 1)
    yield from queue_irq_unlock(vcpu, intid, on)


ROUTINES = {"inject": inject}


def answer(question):
    """Run the routine from its start, giving each operation its result; the first without one is the answer."""
    run = ROUTINES[question["routine"]](*integers(question["arguments"]))
    try:
        operation = next(run)
        for result in integers(question["results"]):
            operation = run.send(result)
        return operation
    except StopIteration as end:
        return {"op": "return", "value": end.value}
    except NotImplementedError as error:
        return {"op": "error", "kind": "refused", "what": str(error)}


def integers(value):
    """Integers of more than 53 bits come as hexadecimal digits; they may go as they are from here."""
    if isinstance(value, list):
        return [integers(item) for item in value]
    return int(value, 16) if isinstance(value, str) and value.startswith("0x") else value


for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "hello":
        reply = {"type": "hello", "version": 1, "name": "vgic", "routines": list(ROUTINES)}
        reply["architecture"] = "arm"
    elif message["type"] == "step":
        reply = {"type": "step", "id": message["id"], "answers": [answer(q) for q in message["questions"]]}
    else:
        break
    print(json.dumps(reply), flush=True)
