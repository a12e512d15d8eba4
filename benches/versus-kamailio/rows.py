"""What is loaded, row by row, and what is held against what."""
import os

from servers import NAF, ROOT

KAMAILIO = "Kamailio, Digest"
OWN_CORE = "imscript, AKA, own core"
KAMAILIO_OWN_CORE = "Kamailio, Digest, own core"
ECHO = "echo, 2 threads"
AKA = "imscript, AKA"
DURABLE = "imscript, AKA, on disk"
FIGURE_7 = "imscript, AKA, figure 7"
IMS = ["scscf", "bsf", "hss"]
MILLION = "imscript, AKA, 1 000 000 users"
TEN_THOUSAND = "imscript, AKA, 10 000 users"


class Row:
    """A server, how it is loaded, and the server behind it, whose CPU is told apart. `generator`: the core of the load generator,
    where the server has another to itself."""

    def __init__(self, name, start, load=(), behind=None, users=None, echo=False, generator=None):
        self.name, self.start, self.load, self.behind, self.users, self.echo = name, start, load, behind, users, echo
        self.generator = generator


def rows(machine, wants_million):
    """All of them. A row's server and the one behind it are started by `start`, which gives both, the second or None."""
    tls, ca = machine.certificate()
    policy = f'policy = "{ROOT / "benches/versus-kamailio/plain.lua"}"\n'

    def aka(data, **how):
        return lambda: (machine.imscript(data, data, roles=IMS, **how), None)

    def figure_7():
        """The IMS server, and the broadcast server in a process of its own; the key is pushed over TCP."""
        # Each names the other, so both ports are known before the first server starts.
        first, second = next(machine.ports), next(machine.ports)
        machine.ports = iter([first, second, *machine.ports])
        peer = f'[[broadcast_server]]\nname = "bsm"\nnaf = ["{NAF}"]\naddress = "tcp:127.0.0.1:{second}"\n'
        ims = machine.imscript("figure7", "figure7", peer, roles=IMS, tcp=True)
        own = f'[bsm]\nnaf = "{NAF}"\nims = "tcp:127.0.0.1:{first}"\n'
        return ims, machine.imscript("figure7-bsm", "figure7-bsm", own, roles=["bsm"], transport="tcp")

    def with_hss(data, scscf):
        """An S-CSCF and our HSS, which it asks over Cx."""

        def start():
            port = next(machine.ports)
            options = ["--diameter-listen", f"tcp:127.0.0.1:{port}", "--durability", "memory"]
            hss = machine.imscript(f"hss-{data}", data, options=options)
            return scscf(port), hss

        return start

    def cx(port):
        options = ["--durability", "memory", "--hss", f"cx:tcp:127.0.0.1:{port}"]
        return machine.imscript("cx", "cx-own", options=options)

    digest = ["--auth", "digest"]
    found = [
        Row("echo, 1 thread", lambda: (machine.echo(1), None), echo=True),
        Row(ECHO, lambda: (machine.echo(2), None), echo=True),
        Row("Kamailio, plain", lambda: (machine.kamailio("plain.cfg"), None), ["--auth", "none"]),
        Row("imscript, plain", aka("plain", more=policy), ["--auth", "none"]),
        Row(KAMAILIO, lambda: (machine.kamailio("digest.cfg"), None), digest),
        Row("Kamailio, Digest in Lua", lambda: (machine.kamailio("digest-lua.cfg"), None), digest),
        Row("imscript, Digest", aka("digest"), digest),
        Row(AKA, aka("aka")),
        Row("imscript, AKA, 1 worker", aka("aka1", workers=1)),
        Row("imscript, AKA, TCP", aka("tcp", transport="tcp")),
        Row("imscript, AKA, TLS", aka("tls", transport="tls", more=tls), ["--ca", ca, "--tls-name", "home1.net"]),
        Row(DURABLE, aka("durable", options=())),
        Row(FIGURE_7, figure_7, ["--naf-id", NAF, "--figure", "7"], behind="broadcast server"),
        Row("Kamailio, IMS", with_hss("cx-kamailio", machine.ims_kamailio), ["--pause", "20"], behind="HSS"),
        Row("imscript, Cx", with_hss("cx-imscript", cx), ["--pause", "20"], behind="HSS"),
    ]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        one, other = cores[:2]
        found += [
            Row(OWN_CORE, aka("owncore", workers=1, core=one), generator=other),
            Row(KAMAILIO_OWN_CORE, lambda: (machine.kamailio("digest.cfg", 1, one), None), digest, generator=other),
        ]
    if wants_million:
        found += [
            Row(TEN_THOUSAND, aka("tenthousand"), users=10_000),
            Row(MILLION, aka("million"), users=1_000_000),
        ]
    return found


def data(machine, wanted):
    """The subscribers that the rows of these names need, and Kamailio's table of them."""
    machine.kamailio_users(machine.subscribers("digest", "digest"))
    folders = {
        "imscript, plain": ("plain", {}),
        AKA: ("aka", {}),
        "imscript, AKA, 1 worker": ("aka1", {}),
        OWN_CORE: ("owncore", {}),
        "imscript, AKA, TCP": ("tcp", {}),
        "imscript, AKA, TLS": ("tls", {}),
        DURABLE: ("durable", {}),
        FIGURE_7: ("figure7", {}),
        "Kamailio, IMS": ("cx-kamailio", {"is_served": False}),
        "imscript, Cx": ("cx-imscript", {"is_served": False}),
        TEN_THOUSAND: ("tenthousand", {"users": 10_000}),
        MILLION: ("million", {"users": 1_000_000}),
    }
    for name, (folder, how) in folders.items():
        if name in wanted:
            machine.subscribers(folder, **how)


# Row, of what it is a share, how many of those, and what it should not be above.
RATIOS = [
    ("imscript, plain", "Kamailio, plain", 1, None),
    ("imscript, Digest", KAMAILIO, 1, None),
    (AKA, KAMAILIO, 1, 0.7),
    (AKA, ECHO, 2, None),
    (FIGURE_7, KAMAILIO, 1, None),
    (FIGURE_7, ECHO, 3, 3),
    ("imscript, AKA, TCP", AKA, 1, None),
    ("imscript, AKA, TLS", AKA, 1, None),
    ("imscript, AKA, TLS", "imscript, AKA, TCP", 1, None),
    (AKA, "imscript, AKA, 1 worker", 1, None),
    (OWN_CORE, KAMAILIO_OWN_CORE, 1, None),
    (DURABLE, AKA, 1, None),
    ("imscript, Cx", "Kamailio, IMS", 1, 0.35),
    (MILLION, TEN_THOUSAND, 1, None),
]

# In an open loop: the row, and which share of what which row took in the closed one. What waits for the disk is held against
# what does not at the same rate. On cores of their own the generator's is full long before the server's.
OPEN = [(OWN_CORE, 0.25, OWN_CORE), (KAMAILIO_OWN_CORE, 0.25, KAMAILIO_OWN_CORE), (AKA, 0.7, AKA), (KAMAILIO, 0.7, KAMAILIO), (AKA, 0.5, DURABLE), (DURABLE, 0.5, DURABLE)]
