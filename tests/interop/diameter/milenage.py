"""Milenage (TS 35.206) by the library `cryptography`: vectors that owe nothing to imscript."""

import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


class Card:
    """The HSS's half of a subscriber's card: K, OPc, and the SQN that is issued next."""

    def __init__(self, impi, impu, k, opc, sqn=1 << 20):
        self.impi, self.impu = impi, impu
        self.k, self.opc, self.sqn = bytes.fromhex(k), bytes.fromhex(opc), sqn

    def _encrypt(self, block):
        encryptor = Cipher(algorithms.AES(self.k), modes.ECB()).encryptor()
        return encryptor.update(block) + encryptor.finalize()

    def _out(self, rand, rotate, constant):
        temp = xor(self._encrypt(xor(rand, self.opc)), self.opc)
        turned = temp[rotate:] + temp[:rotate]
        return xor(self._encrypt(xor(turned, bytes(15) + bytes([constant]))), self.opc)

    def _f1(self, rand, sqn, amf):
        temp = self._encrypt(xor(rand, self.opc))
        block = xor((sqn + amf) * 2, self.opc)
        return xor(self._encrypt(xor(temp, block[8:] + block[:8])), self.opc)

    def vector(self):
        """RAND, AUTN, XRES, CK, IK with the next SQN."""
        self.sqn += 32  # the next SEQ, IND 0 (TS 33.102 annex C.1.1)
        rand, sqn, amf = secrets.token_bytes(16), self.sqn.to_bytes(6, "big"), bytes.fromhex("8000")
        out2 = self._out(rand, 0, 1)
        autn = xor(sqn, out2[:6]) + amf + self._f1(rand, sqn, amf)[:8]
        return rand, autn, out2[8:], self._out(rand, 4, 2), self._out(rand, 8, 4)

    def resynchronise(self, rand, auts):
        """Takes SQN_MS out of AUTS (TS 33.102 §6.3.5); False: the MAC-S is wrong."""
        sqn = xor(auts[:6], self._out(rand, 12, 8)[:6])
        if self._f1(rand, sqn, bytes(2))[8:] != auts[6:]:
            return False
        self.sqn = int.from_bytes(sqn, "big")
        return True
