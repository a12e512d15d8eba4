"""Zn (TS 29.109 clause 5) on python-diameter: a NAF that asks our BSF for keys, or a BSF that our broadcast server asks.

    zn.py naf --server bsf.home1.net:PORT [--host naf.home1.net]
    zn.py bsf --client bsm.home1.net --bootstrap B-TID,IMPI,RAND,KS
"""

import argparse
import datetime
import hashlib
import hmac

from diameter.message import constants as c

from peer import TGPP, ZN, Peer, avp, experimental, first, raw, run

SUCCESS = avp(c.AVP_RESULT_CODE, 2001, 0)


def ks_naf(ks, rand, impi, naf_id):
    """TS 33.220 annex B: KDF with FC 01."""
    text = b"\x01"
    for param in (b"gba-me", rand, impi.encode(), naf_id):
        text += param + len(param).to_bytes(2, "big")
    return hmac.new(ks, text, hashlib.sha256).digest()


class Bsf:
    def __init__(self, args):
        self.known = {}
        for text in args.bootstrap:
            btid, impi, rand, ks = text.split(",")
            self.known[btid] = (impi, bytes.fromhex(rand), bytes.fromhex(ks))

    def bir(self, message):
        btid = first(message, (c.AVP_TGPP_TRANSACTION_IDENTIFIER, TGPP))
        naf_id = first(message, (c.AVP_TGPP_NAF_HOSTNAME, TGPP))
        known = self.known.get((btid or b"").decode())
        if known is None or naf_id is None:
            return [experimental(5403)]
        impi, rand, ks = known
        now = datetime.datetime.now()
        return [
            SUCCESS,
            avp(c.AVP_USER_NAME, impi, 0),
            avp(c.AVP_TGPP_ME_KEY_MATERIAL, ks_naf(ks, rand, impi, naf_id)),
            avp(c.AVP_TGPP_KEY_EXPIRYTIME, now + datetime.timedelta(hours=1)),
            avp(c.AVP_TGPP_BOOTSTRAPINFOCREATIONTIME, now),
            avp(c.AVP_TGPP_GBA_TYPE, 0),
        ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["naf", "bsf"])
    parser.add_argument("--host")
    parser.add_argument("--realm", default="home1.net")
    parser.add_argument("--client", action="append", default=[])
    parser.add_argument("--server")
    parser.add_argument("--bootstrap", action="append", default=[])
    args = parser.parse_args()
    host = args.host or f"{args.role}.{args.realm}"
    bsf = Bsf(args)

    def make(port):
        server = args.server.split(":") if args.server else None
        node = Peer(host, args.realm, port if args.role == "bsf" else None, [ZN], args.client, server)
        node.answers = {(ZN, "BIR"): bsf.bir}
        return node

    def commands(node):
        def bir(btid, naf_id, gba_u=None, service=(), odd=None):
            """Asks for a key; `naf_id` in hexadecimal: FQDN and five octets."""
            avps = [avp(c.AVP_TGPP_GAA_SERVICE_IDENTIFIER, one.encode()) for one in service]
            if btid is not None:
                avps.append(avp(c.AVP_TGPP_TRANSACTION_IDENTIFIER, btid.encode()))
            avps.append(avp(c.AVP_TGPP_NAF_HOSTNAME, bytes.fromhex(naf_id)))
            if gba_u is not None:
                avps.append(avp(c.AVP_TGPP_GBA_U_AWARENESS_INDICATOR, gba_u))
            if odd == "unknown_optional":
                avps = [raw(65000, b"?" * 7, 99999, False), *reversed(avps), raw(65001, b"", 0, False)]
            if odd == "unknown_mandatory":
                avps.append(raw(65003, b"must", 99999, True))
            node.ask(ZN, 310, 10, avps)

        return {"bir": bir}

    run(make, commands)


main()
