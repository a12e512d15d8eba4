"""An HSS with Cx, Zh and Sh.

    hss.py --host hss.home1.net --realm home1.net --client scscf.home1.net --card IMPI,IMPU,K,OPC [--as sip:HOST:PORT]
"""

import argparse
import datetime
import re

from diameter.message import constants as c

from milenage import Card
from peer import CX, SH, TGPP, ZH, Peer, avp, experimental, find, first, run, tell

NO_USER = [experimental(5001)]
SUCCESS = avp(c.AVP_RESULT_CODE, 2001, 0)

PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<IMSSubscription><PrivateID>{impi}</PrivateID><ServiceProfile>
<PublicIdentity><BarringIndication>0</BarringIndication><Identity>{impu}</Identity></PublicIdentity>
{criteria}</ServiceProfile></IMSSubscription>"""

# No ServiceInfo: Kamailio would send that in place of the terminal's REGISTER.
CRITERION = """<InitialFilterCriteria><Priority>0</Priority>
<TriggerPoint><ConditionTypeCNF>0</ConditionTypeCNF><SPT><ConditionNegated>0</ConditionNegated><Group>0</Group>
<Method>REGISTER</Method></SPT></TriggerPoint>
<ApplicationServer><ServerName>{server}</ServerName><DefaultHandling>0</DefaultHandling>
<Extension><IncludeRegisterRequest/></Extension></ApplicationServer></InitialFilterCriteria>
"""

GUSS = """<?xml version="1.0" encoding="UTF-8"?>
<guss id="{impi}"><bsfInfo><uiccType>GBA</uiccType><lifeTime>3600</lifeTime></bsfInfo>
<ussList><uss id="1" type="4" nafGroup="bcast"><uids><uid>{impu}</uid></uids><flags/></uss></ussList></guss>"""


CHANGED = datetime.datetime(2026, 1, 1)


class Hss:
    def __init__(self, args):
        self.args = args
        self.cards = {}
        for text in args.card:
            card = Card(*text.split(","))
            self.cards[card.impi] = self.cards[card.impu] = card
        self.servers = {}
        self.repository = {}

    def card(self, message):
        name = first(message, (c.AVP_USER_NAME, 0)) or first(message, (c.AVP_TGPP_PUBLIC_IDENTITY, TGPP))
        return self.cards.get(name)

    def uar(self, message):
        card = self.card(message)
        if card is None:
            return NO_USER
        server = self.servers.get(card.impi)
        if server:
            return [experimental(2002), avp(c.AVP_TGPP_SERVER_NAME, server)]
        capability = [avp(c.AVP_TGPP_MANDATORY_CAPABILITY, number) for number in self.args.capability]
        name = [avp(c.AVP_TGPP_SERVER_NAME, self.args.server_name)] if self.args.server_name else []
        return [experimental(2001), avp(c.AVP_TGPP_SERVER_CAPABILITIES, capability + name)]

    def lir(self, message):
        card = self.card(message)
        if card is None:
            return NO_USER
        server = self.servers.get(card.impi)
        return [SUCCESS, avp(c.AVP_TGPP_SERVER_NAME, server)] if server else [experimental(5003)]

    def resynchronised(self, message, card):
        item = (c.AVP_TGPP_3GPP_SIP_AUTH_DATA_ITEM, TGPP)
        auts = first(message, item, (c.AVP_TGPP_3GPP_SIP_AUTHORIZATION, TGPP))
        if auts:
            good = len(auts) == 30 and card.resynchronise(auts[:16], auts[16:])
            tell(resynchronised=good)

    def vectors(self, card, count):
        items = []
        for number in range(1, count + 1):
            rand, autn, xres, ck, ik = card.vector()
            items.append(avp(c.AVP_TGPP_3GPP_SIP_AUTH_DATA_ITEM, [
                avp(c.AVP_TGPP_3GPP_SIP_ITEM_NUMBER, number),
                avp(c.AVP_TGPP_3GPP_SIP_AUTHENTICATION_SCHEME, "Digest-AKAv1-MD5"),
                avp(c.AVP_TGPP_3GPP_SIP_AUTHENTICATE, rand + autn),
                avp(c.AVP_TGPP_3GPP_SIP_AUTHORIZATION, xres),
                avp(c.AVP_TGPP_CONFIDENTIALITY_KEY, ck),
                avp(c.AVP_TGPP_INTEGRITY_KEY, ik),
            ]))
        return items

    def mar(self, message):
        card = self.card(message)
        if card is None:
            return NO_USER
        self.resynchronised(message, card)
        count = first(message, (c.AVP_TGPP_3GPP_SIP_NUMBER_AUTH_ITEMS, TGPP)) or 1
        return [SUCCESS, avp(c.AVP_USER_NAME, card.impi, 0), avp(c.AVP_TGPP_PUBLIC_IDENTITY, card.impu),
                avp(c.AVP_TGPP_3GPP_SIP_NUMBER_AUTH_ITEMS, count), *self.vectors(card, count)]

    def zh_mar(self, message):
        card = self.card(message)
        if card is None:
            return [experimental(5401)]
        self.resynchronised(message, card)
        guss = GUSS.format(impi=card.impi, impu=card.impu).encode()
        since = first(message, (c.AVP_TGPP_GUSS_TIMESTAMP, TGPP))
        # What the BSF has from before comes no more.
        settings = [] if since and since >= CHANGED else [
            avp(c.AVP_TGPP_GBA_USERSECSETTINGS, guss), avp(c.AVP_TGPP_GUSS_TIMESTAMP, CHANGED, mandatory=False)]
        return [SUCCESS, avp(c.AVP_USER_NAME, card.impi, 0), *self.vectors(card, 1), *settings]

    def profile(self, card):
        criteria = "".join(CRITERION.format(server=server) for server in self.args.application_server)
        return PROFILE.format(impi=card.impi, impu=card.impu, criteria=criteria).encode()

    def sar(self, message):
        card = self.card(message)
        if card is None:
            return NO_USER
        kind = first(message, (c.AVP_TGPP_SERVER_ASSIGNMENT_TYPE, TGPP))
        if kind in (4, 5, 8, 9, 10, 11):
            self.servers.pop(card.impi, None)
            return [SUCCESS, avp(c.AVP_USER_NAME, card.impi, 0)]
        self.servers[card.impi] = first(message, (c.AVP_TGPP_SERVER_NAME, TGPP))
        charging = avp(c.AVP_TGPP_CHARGING_INFORMATION, [
            avp(c.AVP_TGPP_PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME, "aaa://ccf.home1.net")])
        return [SUCCESS, avp(c.AVP_USER_NAME, card.impi, 0),
                avp(c.AVP_TGPP_CX_USER_DATA, self.profile(card)), charging]

    # Sh: repository data and the state of the user; a subscription is taken note of.

    def user(self, message):
        return self.cards.get(first(message, (c.AVP_TGPP_USER_IDENTITY, TGPP), (c.AVP_TGPP_PUBLIC_IDENTITY, TGPP)))

    def data(self, card, message):
        inner = ""
        for reference in find(message, (c.AVP_TGPP_DATA_REFERENCE, TGPP)):
            if reference == 0:
                for service in find(message, (c.AVP_TGPP_SERVICE_INDICATION, TGPP)):
                    inner += self.repository.get((card.impu, service), b"").decode()
            elif reference == 11:
                state = 1 if card.impi in self.servers else 0
                inner += f"<Sh-IMS-Data><IMSUserState>{state}</IMSUserState></Sh-IMS-Data>"
        return avp(c.AVP_TGPP_SH_USER_DATA, f"<Sh-Data>{inner}</Sh-Data>".encode())

    def udr(self, message):
        card = self.user(message)
        return [SUCCESS, self.data(card, message)] if card else NO_USER

    def pur(self, message):
        card = self.user(message)
        if card is None:
            return NO_USER
        data = first(message, (c.AVP_TGPP_SH_USER_DATA, TGPP))
        found = re.search(rb"<RepositoryData>.*</RepositoryData>", data, re.S)
        service = re.search(rb"<ServiceIndication>([^<]*)<", data)
        number = re.search(rb"<SequenceNumber>(\d+)<", data)
        if not (found and service and number):
            return [experimental(5101)]
        key = (card.impu, service[1])
        have = re.search(rb"<SequenceNumber>(\d+)<", self.repository.get(key, b""))
        due = 0 if have is None else int(have[1]) % 65535 + 1
        if int(number[1]) != due:
            return [experimental(5105)]
        self.repository[key] = found[0]
        return [SUCCESS]

    def snr(self, message):
        card = self.user(message)
        if card is None:
            return NO_USER
        wanted = first(message, (c.AVP_TGPP_SEND_DATA_INDICATION, TGPP)) == 1
        until = find(message, (c.AVP_TGPP_EXPIRY_TIME, TGPP))
        data = [self.data(card, message)] if wanted else []
        return [SUCCESS, *data, *(avp(c.AVP_TGPP_EXPIRY_TIME, one, mandatory=False) for one in until)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="hss.home1.net")
    parser.add_argument("--realm", default="home1.net")
    parser.add_argument("--client", action="append", default=[])
    parser.add_argument("--card", action="append", default=[])
    parser.add_argument("--application-server", action="append", default=[])
    parser.add_argument("--capability", type=int, action="append", default=[])
    parser.add_argument("--server-name")
    parser.add_argument("--applications", default="cx,sh,zh")
    args = parser.parse_args()
    hss = Hss(args)
    ids = {"cx": CX, "sh": SH, "zh": ZH}

    def make(port):
        applications = [ids[name] for name in args.applications.split(",")]
        node = Peer(args.host, args.realm, port, applications, args.client)
        node.answers = {
            (CX, "UAR"): hss.uar, (CX, "LIR"): hss.lir, (CX, "MAR"): hss.mar, (CX, "SAR"): hss.sar,
            (ZH, "MAR"): hss.zh_mar, (SH, "UDR"): hss.udr, (SH, "PUR"): hss.pur, (SH, "SNR"): hss.snr,
        }
        return node

    def commands(node):
        def rtr(impi, to, reason=0, impus=()):
            reasons = avp(c.AVP_TGPP_DEREGISTRATION_REASON, [
                avp(c.AVP_TGPP_REASON_CODE, reason), avp(c.AVP_TGPP_REASON_INFO, "by the test")])
            public = [avp(c.AVP_TGPP_PUBLIC_IDENTITY, impu) for impu in impus]
            hss.servers.pop(impi, None)
            node.ask(CX, 304, 5, [avp(c.AVP_USER_NAME, impi, 0), *public, reasons], to)

        def ppr(impi, to):
            profile = avp(c.AVP_TGPP_CX_USER_DATA, hss.profile(hss.cards[impi]))
            node.ask(CX, 305, 5, [avp(c.AVP_USER_NAME, impi, 0), profile], to)

        def pnr(impu, to, data):
            identity = avp(c.AVP_TGPP_USER_IDENTITY, [avp(c.AVP_TGPP_PUBLIC_IDENTITY, impu)])
            node.ask(SH, 309, 5, [identity, avp(c.AVP_TGPP_SH_USER_DATA, data.encode())], to)

        def odd(to, impi="", what="unknown_mandatory"):
            """An RTR that our side must refuse, each for its reason."""
            avps = [avp(c.AVP_USER_NAME, impi, 0)]
            node.ask(CX, 304 if what != "unknown_command" else 399, 5, avps, to)

        return {"rtr": rtr, "ppr": ppr, "pnr": pnr, "odd": odd}

    run(make, commands)


main()
