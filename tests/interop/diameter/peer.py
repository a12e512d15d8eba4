"""A Diameter node on python-diameter that a test drives: it prints one JSON object a line for what happens to it, and
does what it reads on its standard input, one JSON object a line. It ends when that ends."""

import datetime
import json
import os
import socket
import sys
import threading
import time

from diameter.message import Avp, Message, constants as c
from diameter.node import Node
from diameter.node.application import ThreadingApplication

TGPP = 10415
CX, SH, ZN, ZH = 16777216, 16777217, 16777220, 16777221
NAMES = {
    (CX, 300): "UAR", (CX, 301): "SAR", (CX, 302): "LIR", (CX, 303): "MAR", (CX, 304): "RTR", (CX, 305): "PPR",
    (SH, 306): "UDR", (SH, 307): "PUR", (SH, 308): "SNR", (SH, 309): "PNR", (ZH, 303): "MAR", (ZN, 310): "BIR",
}


SPEAKING = threading.Lock()


def tell(**event):
    with SPEAKING:
        print(json.dumps(event), flush=True)


def avp(code, value, vendor=TGPP, mandatory=True):
    return Avp.new(code, vendor, value=value, is_mandatory=mandatory)


def raw(code, octets, vendor=0, mandatory=True):
    """An AVP that the library's dictionary need not know."""
    made = Avp(code, vendor, octets)
    made.is_mandatory = mandatory
    return made


def experimental(code):
    return avp(c.AVP_EXPERIMENTAL_RESULT, [
        avp(c.AVP_VENDOR_ID, TGPP, 0), avp(c.AVP_EXPERIMENTAL_RESULT_CODE, code, 0)], 0)


def plain(value):
    """A value of an AVP for JSON: octets that are no text in hexadecimal."""
    if isinstance(value, bytes):
        try:
            text = value.decode()
            if text.isprintable():
                return text
        except UnicodeDecodeError:
            pass
        return value.hex()
    if isinstance(value, list):
        return [[one.name, plain(one.value)] for one in value]
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    return value if isinstance(value, (int, str)) else str(value)


def describe(message):
    return [[one.name, plain(one.value)] for one in message.avps]


def find(message, *path):
    """The values at the end of a chain of (code, vendor)."""
    level = message.avps
    for at, (code, vendor) in enumerate(path):
        level = [one for one in level if (one.code, one.vendor_id) == (code, vendor)]
        if at + 1 < len(path):
            level = [inner for one in level for inner in one.value]
    return [one.value for one in level]


def first(message, *path):
    return next(iter(find(message, *path)), None)


class Application(ThreadingApplication):
    def __init__(self, peer, application_id):
        super().__init__(application_id, is_auth_application=True)
        self.peer = peer

    def handle_request(self, message):
        return self.peer.request(self, message)


class Peer(Node):
    """`answers`: of (application id, name of the command), functions from a request to a list of AVPs."""

    def __init__(self, host, realm, port, applications, clients=(), server=None):
        super().__init__(host, realm, ip_addresses=["127.0.0.1"] if port else None, tcp_port=port,
                         vendor_ids=[TGPP])
        self.vendor_id = TGPP
        self.wakeup_interval = 1
        # Its list of what a MAR needs has AVPs of RFC 4740 in it, which Cx has not.
        self.validate_received_request_avps = False
        self.answers = {}
        self.faults = []
        self.held = []
        self.lock = threading.Lock()
        known = [self.add_peer(f"aaa://{name}", realm) for name in clients]
        if server:
            name, at = server
            known.append(self.add_peer(f"aaa://{name}:{at}", realm, ip_addresses=["127.0.0.1"], is_persistent=True))
            known[-1].reconnect_wait = 1
        self.served = {}
        for application_id in applications:
            self.served[application_id] = Application(self, application_id)
            self.add_application(self.served[application_id], known)

    # What comes in.

    def request(self, application, message):
        name = NAMES.get((application.application_id, message.header.command_code), "?")
        tell(got=name, application=application.application_id, avps=describe(message))
        make = self.answers.get((application.application_id, name))
        fault = self.fault(name)
        if fault.get("fault") == "slow":
            time.sleep(fault["seconds"])
            tell(late=name)
        if fault.get("fault") == "silent":
            return None
        # A plain message: what is sent stands in the AVPs alone, and in their order.
        answer = Message(message.to_answer().header)
        answer.result_code = 2001  # for the library's statistics
        if make is None:
            answer.header.is_error = True
            answer.avps = self.head(message, application) + [avp(c.AVP_RESULT_CODE, 3001, 0)]
            return answer
        avps = self.head(message, application) + make(message)
        answer.avps = self.spoil(fault, avps)
        if fault.get("fault") in ("cut", "wrong_length", "wrong_avp_length", "garbage"):
            self.send_raw(message, answer, fault["fault"])
            return None
        if fault.get("fault") == "hold":
            with self.lock:
                self.held.append(answer)
                if len(self.held) < fault["until"]:
                    return None
                held, self.held = self.held, []
            for late in reversed(held):
                application.send_answer(late)
            tell(released=len(held))
            return None
        return answer

    def receive_dwr(self, conn, message):
        super().receive_dwr(conn, message)
        tell(got="DWR", avps=describe(message))

    def receive_dwa(self, conn, message):
        super().receive_dwa(conn, message)
        tell(answered="DWR", avps=describe(message))

    def receive_dpr(self, conn, message):
        super().receive_dpr(conn, message)
        tell(got="DPR", avps=describe(message))

    def receive_dpa(self, conn, message):
        super().receive_dpa(conn, message)
        tell(answered="DPR", avps=describe(message))

    def receive_cer(self, conn, message):
        super().receive_cer(conn, message)
        tell(got="CER", avps=describe(message))

    def receive_cea(self, conn, message):
        super().receive_cea(conn, message)
        tell(answered="CER", avps=describe(message))

    def fault(self, name):
        with self.lock:
            for at, fault in enumerate(self.faults):
                if fault["command"] == name:
                    if fault.setdefault("times", 1) <= 1:
                        self.faults.pop(at)
                    fault["times"] -= 1
                    return fault
        return {}

    def head(self, message, application):
        session = first(message, (c.AVP_SESSION_ID, 0))
        own = [
            avp(c.AVP_VENDOR_SPECIFIC_APPLICATION_ID, [
                avp(c.AVP_VENDOR_ID, TGPP, 0),
                avp(c.AVP_AUTH_APPLICATION_ID, application.application_id, 0),
            ], 0),
            avp(c.AVP_AUTH_SESSION_STATE, 1, 0),
            avp(c.AVP_ORIGIN_HOST, self.origin_host.encode(), 0),
            avp(c.AVP_ORIGIN_REALM, self.realm_name.encode(), 0),
        ]
        return ([avp(c.AVP_SESSION_ID, session, 0)] if session else []) + own

    def spoil(self, fault, avps):
        """Answers that are odd but right, and one that must not be understood."""
        match fault.get("fault"):
            case "unknown_optional":
                # Before, between and after the rest; one of a foreign vendor, one grouped by its looks, one empty.
                return [avps[0], raw(65000, b"?" * 7, 99999, False), *avps[1:],
                        raw(65001, bytes.fromhex("0000ffff00000009ff000000"), 0, False), raw(65002, b"", 10415, False)]
            case "unknown_mandatory":
                return avps + [raw(65003, b"must", 99999, True)]
            case "reversed":
                return avps[:1] + avps[:0:-1]
            case "twice":
                return avps + avps[-1:]
        return avps

    def send_raw(self, message, answer, fault):
        octets = bytearray(answer.as_bytes())
        match fault:
            case "cut":
                octets = octets[: len(octets) // 2]
            case "wrong_length":  # longer than all that ever comes, and not a multiple of four
                octets[1:4] = (0xFFFFFD).to_bytes(3, "big")
            case "wrong_avp_length":  # the first AVP goes beyond the message
                octets[25:28] = (len(octets) * 2).to_bytes(3, "big")
            case "garbage":
                octets = bytearray(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        waiting = message.header.hop_by_hop_identifier
        for connection in list(self.connections.values()):
            if waiting in self._peer_waiting_answer.get(connection.host_identity, {}):
                with connection.write_lock:
                    connection._write_buffer += bytes(octets)
                connection.demand_attention()
                if fault == "cut":
                    while connection.write_buffer:
                        time.sleep(0.005)
                    connection.close()
        tell(sent=fault)

    # What goes out.

    def ask(self, application_id, command, to, avps, destination=None):
        application = self.served[application_id]
        message = Message()
        header = message.header
        header.command_code, header.application_id = command, application_id
        header.is_request = header.is_proxyable = True
        session = self.session_generator.next_id()
        message.avps = [
            avp(c.AVP_SESSION_ID, session, 0),
            avp(c.AVP_VENDOR_SPECIFIC_APPLICATION_ID, [
                avp(c.AVP_VENDOR_ID, TGPP, 0), avp(c.AVP_AUTH_APPLICATION_ID, application_id, 0)], 0),
            avp(c.AVP_AUTH_SESSION_STATE, 1, 0),
            avp(c.AVP_ORIGIN_HOST, self.origin_host.encode(), 0),
            avp(c.AVP_ORIGIN_REALM, self.realm_name.encode(), 0),
            avp(c.AVP_DESTINATION_REALM, self.realm_name.encode(), 0),
        ] + ([avp(c.AVP_DESTINATION_HOST, destination.encode(), 0)] if destination else []) + avps
        message.destination_realm = self.realm_name.encode()
        name = NAMES.get((application_id, command), str(command))
        try:
            answer = application.send_request(message, timeout=to)
            tell(answered=name, error=bool(answer.header.is_error), avps=describe(answer))
            return answer
        except Exception as why:
            tell(unanswered=name, why=repr(why))
            return None

    def ask_any(self, application, command, avps, destination=None):
        """Any request: AVPs as [code, vendor, mandatory, octets in hexadecimal]."""
        made = [raw(code, bytes.fromhex(octets), vendor, mandatory) for code, vendor, mandatory, octets in avps]
        self.ask(application, command, 10, made, destination)

    def send_octets(self, octets):
        """Octets as they are, to all who are connected."""
        for connection in list(self.connections.values()):
            with connection.write_lock:
                connection._write_buffer += bytes.fromhex(octets)
            connection.demand_attention()
        tell(done="octets")

    def obey(self, commands):
        """Does what standard input says, by these names or those of `commands`, until it ends."""
        commands = {"ask": self.ask_any, "octets": self.send_octets, **commands}
        for line in sys.stdin:
            order = json.loads(line)
            match order.pop("do"):
                case "fault":
                    with self.lock:
                        self.faults.append(order)
                    tell(done="fault")
                case "connections":
                    tell(connections=[one.host_identity for one in self.connections.values()])
                case "drop":
                    for connection in list(self.connections.values()):
                        connection.close()
                    tell(done="drop")
                case "dpr":
                    for connection in list(self.connections.values()):
                        self.send_dpr(connection)
                    tell(done="dpr")
                case "dwr":
                    for connection in list(self.connections.values()):
                        self.send_dwr(connection)
                    tell(done="dwr")
                case other:
                    threading.Thread(target=commands[other], kwargs=order, daemon=True).start()
        os._exit(0)  # its threads would go on for seconds


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(make, commands):
    """Makes a node with `make(port)` at a port that is free, also if somebody takes it just then, and runs it."""
    for attempt in range(10):
        node = make(free_port())
        try:
            node.start()
            break
        except OSError:
            if attempt == 9:
                raise
    if node.tcp_port is None:
        for application in node.served.values():
            application.wait_for_ready(15)
    tell(ready=node.tcp_port or 0)
    node.obey(commands(node))
