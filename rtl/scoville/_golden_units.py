import numpy as np
MAXF = np.float32(np.finfo(np.float32).max); MIN = np.float32(2.0**-126)
def fin(x):
    x = np.clip(x, -MAXF, MAXF)
    return np.where(np.abs(x) < MIN, np.float32(0), x).astype(np.float32)
class fp32:
    class model:
        @staticmethod
        def add(a, b): return fin(np.add(a, b, dtype=np.float32))
        @staticmethod
        def mul(a, b): return fin(np.multiply(a, b, dtype=np.float32))
        @staticmethod
        def from_int(x, exponent=0): return fin(np.ldexp(np.asarray(x).astype(np.float32), exponent))
        @staticmethod
        def scale2(a, e): return fin(np.ldexp(np.asarray(a, np.float32), e))
        @staticmethod
        def neg(a): return np.float32(0) - a
        @staticmethod
        def to_fixed(a, fb, width):
            x = np.rint(np.ldexp(a.astype(np.float64), fb)); lim = 2.0**(width-1)
            return np.clip(x, -lim, lim-1).astype(np.int64)
class table:
    class model:
        @staticmethod
        def exp2_fixed(x): return fin(np.exp2(np.asarray(x)/2.0**24).astype(np.float32))
        @staticmethod
        def recip(a): return fin((1/a.astype(np.float64)).astype(np.float32))
        @staticmethod
        def rsqrt(a): return fin((1/np.sqrt(a.astype(np.float64))).astype(np.float32))
class sigmoid:
    @staticmethod
    def model(a): return fin((1/(1+np.exp(-a.astype(np.float64)))).astype(np.float32))
class block:
    class model:
        @staticmethod
        def quantise(x, bits):
            x = np.asarray(x, np.float32); top = np.abs(x).max(-1)
            e = np.where(top > 0, np.frexp(top)[1] - 1 - (bits - 2), -127); e = np.maximum(e, -127)
            lim = 2**(bits-1)-1
            q = np.clip(np.rint(np.ldexp(x.astype(np.float64), -e[..., None])), -lim, lim).astype(np.int16)
            return q, np.where(top > 0, e + 127, 0).astype(np.uint8), q.sum(-1, dtype=np.int32)
        @staticmethod
        def scale_fp16(b): return b.view(np.float16).astype(np.float32)
        @staticmethod
        def scale_e8m0(s): return (s.astype(np.uint32) << 23).view(np.float32)
