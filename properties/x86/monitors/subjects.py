"""What x86's findings are about: bits of the descriptor, of the virtual APIC, and interrupts on their way."""

from __future__ import annotations

from conformance.machine.finding import Subject


def on(vcpu: str) -> Subject:
    return Subject(f"{vcpu}.pid.control", 1)


def sn(vcpu: str) -> Subject:
    return Subject(f"{vcpu}.pid.control", 2)


def nv(vcpu: str) -> Subject:
    return Subject(f"{vcpu}.pid.control", 0xFF << 16)


def ndst(vcpu: str) -> Subject:
    return Subject(f"{vcpu}.pid.control", 0xFFFFFFFF << 32)


def pir(vcpu: str, vector: int) -> Subject:
    return Subject(f"{vcpu}.pid.pir[{vector // 64}]", 1 << vector % 64)


def virr(vcpu: str, vector: int) -> Subject:
    return Subject(f"{vcpu}.virr[{vector // 64}]", 1 << vector % 64)


def visr(vcpu: str, vector: int) -> Subject:
    return Subject(f"{vcpu}.visr[{vector // 64}]", 1 << vector % 64)


def latched(cpu: int, vector: int) -> Subject:
    return Subject(f"cpu{cpu}.latched", 1 << vector)


def in_flight(cpu: int, vector: int) -> Subject:
    return Subject(f"cpu{cpu}.in_flight", 1 << vector)
