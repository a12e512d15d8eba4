"""The servers under load, each a process of its own on loopback."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOMAIN = "home1.net"
NAF = f"bsm.{DOMAIN}"


def need(binary, package):
    if not shutil.which(binary):
        install(package)


def install(*packages):
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run([*sudo, "apt-get", "update", "-qq"], check=True, stdout=sys.stderr)
    command = [*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(command, check=True, env=env, stdout=sys.stderr)


def free_ports(count):
    """Ports that are free for UDP and TCP now, and below those that the kernel gives to sockets which ask for none."""
    held, ports = [], []
    while len(ports) < count:
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        held += [udp, tcp]
        try:
            udp.bind(("127.0.0.1", random.randrange(20000, 32000)))
            tcp.bind(udp.getsockname())
        except OSError:
            continue
        ports.append(udp.getsockname()[1])
    for one in held:
        one.close()
    return ports


class Server:
    """A running server: its process, where it listens."""

    def __init__(self, command, port, log, core=None):
        self.port, self.transport = port, "udp"
        self.log = open(log, "wb")
        command = [str(part) for part in command]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True, preexec_fn=on_core(core))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def last_words(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")[-2000:]

    def cpu(self):
        """User and system time so far, all its processes, seconds."""
        ticks = 0
        for pid in family(self.process.pid):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Proportional share of its processes, octets."""
        total = 0
        for pid in family(self.process.pid):
            try:
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += 1024 * int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))
            except (OSError, StopIteration):
                pass
        return total


def on_core(core):
    """For a process that is to run on one core alone, and all that it starts."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


def family(pid):
    found = [pid]
    for one in found:
        for children in pathlib.Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                pass
    return found


class Machine:
    """Where the servers of one run find what they need, and the files that they leave."""

    def __init__(self, folder, binary, echo, users):
        self.folder, self.binary, self.echo_binary, self.users = folder, binary, echo, users
        self.ports = iter(free_ports(60))

    def imscript(self, name, data, more="", options=("--durability", "memory"), workers=2, transport="udp", roles=None, tcp=False, core=None):
        """On a port of its own; `tcp`: over TCP there as well, for other servers."""
        port = next(self.ports)
        config = self.folder / f"{''.join(c for c in name if c.isalnum())}-{port}.toml"
        listen = [f"{one}:127.0.0.1:{port}" for one in dict.fromkeys([transport, *(["tcp"] if tcp else [])])]
        lines = [f'domain = "{DOMAIN}"', f"listen = {json.dumps(listen)}", f"workers = {workers}"]
        lines += [f'data_dir = "{self.folder / data}"', f"roles = {json.dumps(roles)}" if roles else "", more]
        config.write_text("\n".join(lines) + "\n")
        command = [self.binary, "run", "--config", config, "--log", "error", *options]
        server = Server(command, port, f"{config}.log", core)
        server.transport = transport
        return server

    def echo(self, threads):
        port = next(self.ports)
        return Server([self.echo_binary, f"127.0.0.1:{port}", threads], port, self.folder / f"echo-{port}.log")

    def kamailio(self, config, children=2, core=None):
        """Kamailio as a plain registrar; its configuration has its places filled in."""
        port = next(self.ports)
        home = self.folder / f"kamailio-{port}"
        home.mkdir()
        for source in HERE.iterdir():
            if source.suffix in (".cfg", ".lua"):
                text = source.read_text().replace("@FOLDER@", str(home)).replace("@PORT@", str(port))
                text = text.replace("@CHILDREN@", str(children))
                (home / source.name).write_text(text)
        for table in ("users", "version"):
            shutil.copy(self.folder / table, home / table)
        return Server(kamailio_command(home, config, 1024), port, home / "log", core)

    def ims_kamailio(self, hss):
        """Kamailio as S-CSCF, as in the tests, with our HSS over Cx; nothing logged, and tables for many users."""
        port, diameter = next(self.ports), next(self.ports)
        home = self.folder / f"kamailio-{port}"
        home.mkdir()
        names = {"FOLDER": home, "PORT": port, "FQDN": f"scscf.{DOMAIN}", "HSS": "127.0.0.1", "HSS_PORT": hss}
        names["DIAMETER_PORT"] = diameter
        many = 'modparam("ims_usrloc_scscf", "{}_hash_size", 16)\n'
        for source in ("scscf.cfg", "diameter.xml"):
            text = (ROOT / "tests/interop/kamailio" / source).read_text()
            for key, value in names.items():
                text = text.replace(f"@{key}@", str(value))
            more = "".join(many.format(table) for table in ("subs", "contacts"))
            text = text.replace("debug=2", "debug=-1").replace("\nrequest_route {", f"\n{more}\nrequest_route {{", 1)
            (home / source).write_text(text)
        return Server(kamailio_command(home, "scscf.cfg", 2048), port, home / "log")

    def subscribers(self, data, auth="aka", users=None, is_served=True):
        """A data folder with users. Not `is_served`: no filter criterion, so that nobody sends a third-party REGISTER."""
        file = self.folder / f"{data}.csv"
        made = ["load", "--users", str(users or self.users), "--domain", DOMAIN, "--auth", auth]
        subprocess.run([self.binary, *made, "--write-subscribers", file], check=True)
        if not is_served:
            file.write_text(file.read_text().replace(",yes\n", ",no\n"))
        imported = ["subscriber", "import", file, "--data-dir", self.folder / data]
        subprocess.run([self.binary, *imported], check=True, stdout=subprocess.DEVNULL)
        return file

    def kamailio_users(self, file):
        """The users of an import file as Kamailio's table of HA1."""
        rows = ["key_name(str) key_type(int) value_type(int) key_value(str) expires(int)"]
        for line in file.read_text().splitlines()[1:]:
            fields = line.split(",")
            ha1 = hashlib.md5(f"{fields[0]}:{DOMAIN}:{fields[8]}".encode()).hexdigest()
            rows.append(f"{fields[0].split('@')[0]}:0:0:{ha1}:0")
        (self.folder / "users").write_text("\n".join(rows) + "\n")
        (self.folder / "version").write_text("table_name(str) table_version(int)\nusers:2\n")

    def certificate(self):
        """A self-signed one for 127.0.0.1: its [tls] table, and its authority's file."""
        need("openssl", "openssl")
        key, certificate = self.folder / "tls.key", self.folder / "tls.pem"
        if not certificate.exists():
            made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            made += ["-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:{DOMAIN},IP:127.0.0.1"]
            # Rustls takes no authority for an end's certificate.
            made += ["-addext", "basicConstraints=critical,CA:FALSE"]
            subprocess.run(["openssl", *made, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
        return f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nca = "{certificate}"\n', certificate


def kamailio_command(home, config, memory):
    command = ["kamailio", "-f", home / config, "-x", "fm", "-X", "fm", "-m", memory, "-M", "16", "-DD", "-E"]
    return [*command, "-P", home / "pid", "-Y", home, "-w", home]
