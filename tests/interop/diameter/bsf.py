"""A BSF that asks our HSS over Zh (TS 29.109 clause 4).

    bsf.py --host bsf.home1.net --server hss.home1.net:PORT
"""

import argparse

from diameter.message import constants as c

from peer import ZH, Peer, avp, run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--realm", default="home1.net")
    parser.add_argument("--server", required=True)
    args = parser.parse_args()

    def make(port):
        return Peer(args.host, args.realm, None, [ZH], (), args.server.split(":"))

    def commands(node):
        def mar(impi):
            item = avp(c.AVP_TGPP_3GPP_SIP_AUTH_DATA_ITEM, [
                avp(c.AVP_TGPP_3GPP_SIP_AUTHENTICATION_SCHEME, "Digest-AKAv1-MD5")])
            node.ask(ZH, 303, 10, [avp(c.AVP_USER_NAME, impi, 0), item])

        return {"mar": mar}

    run(make, commands)


main()
