#include "textflag.h"
#include "wide_amd64.h"

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

// From the counter in a nonce's first block to those of the four blocks behind it.
DATA first<>+0(SB)/8, $1
DATA first<>+8(SB)/8, $0
DATA first<>+16(SB)/8, $2
DATA first<>+24(SB)/8, $0
DATA first<>+32(SB)/8, $3
DATA first<>+40(SB)/8, $0
DATA first<>+48(SB)/8, $4
DATA first<>+56(SB)/8, $0
GLOBL first<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
DATA four<>+16(SB)/8, $4
DATA four<>+24(SB)/8, $0
DATA four<>+32(SB)/8, $4
DATA four<>+40(SB)/8, $0
DATA four<>+48(SB)/8, $4
DATA four<>+56(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $64

// GCM's polynomial, reflected.
DATA polynomial<>+0(SB)/8, $0x0000000000000001
DATA polynomial<>+8(SB)/8, $0xc200000000000000
GLOBL polynomial<>(SB), RODATA|NOPTR, $16

// PREPARE loads what seal and open are given.
#define PREPARE \
	MOVQ gcm+0(FP), DX;    \
	MOVQ dst+8(FP), DI;    \
	MOVQ src+16(FP), SI;   \
	MOVQ n+24(FP), CX;     \
	MOVQ nonce+32(FP), BX; \
	MOVQ sum+40(FP), R12;  \
	BEGIN;                 \
	VMOVDQU (R12), X14;    \
	VPSHUFB X31, X14, X14

// CRYPT puts the key stream on 64 bytes and prepares them for the hash. Sealing
// hashes what it writes. CRYPTTAIL does it with what k chooses, behind the strides:
// masked, nothing else is read or written.
#define CRYPT(offset, stream, text) \
	VPXORQ offset(SI), stream, stream; \
	VMOVDQU64 stream, offset(DI);      \
	VPSHUFB Z31, stream, text

#define CRYPTTAIL(offset, k, stream) \
	VMOVDQU8.Z offset(SI)(R10*1), k, Z12; \
	VPXORQ Z12, stream, stream;           \
	VMOVDQU8 stream, k, offset(DI)(R10*1); \
	VMOVDQU8.Z stream, k, stream;         \
	VPSHUFB Z31, stream, stream

// func seal(gcm *wideGCM, dst, src *byte, n int, nonce *byte, sum *block, additional int)
TEXT ·seal(SB), NOSPLIT, $0-56
	PREPARE
#include "text_amd64.h"
	MOVQ dst+8(FP), DI
	ADDQ n+24(FP), DI
	VMOVDQU X14, (DI)
	VZEROUPPER
	RET

#undef CRYPT
#undef CRYPTTAIL

// Opening hashes what it reads.
#define CRYPT(offset, stream, text) \
	VMOVDQU64 offset(SI), Z12;    \
	VPXORQ Z12, stream, stream;   \
	VMOVDQU64 stream, offset(DI); \
	VPSHUFB Z31, Z12, text

#define CRYPTTAIL(offset, k, stream) \
	VMOVDQU8.Z offset(SI)(R10*1), k, Z12; \
	VPXORQ Z12, stream, stream;           \
	VMOVDQU8 stream, k, offset(DI)(R10*1); \
	VPSHUFB Z31, Z12, stream

// func open(gcm *wideGCM, dst, src *byte, n int, nonce *byte, sum *block, additional int) (same bool)
TEXT ·open(SB), NOSPLIT, $0-57
	PREPARE
#include "text_amd64.h"
	MOVQ src+16(FP), SI
	ADDQ n+24(FP), SI
	VPXOR (SI), X14, X14
	VPTEST X14, X14
	SETEQ same+56(FP)
	VZEROUPPER
	RET

// func hash(gcm *wideGCM, sum *block, data *byte, n int)
TEXT ·hash(SB), NOSPLIT, $0-32
	MOVQ gcm+0(FP), DX
	MOVQ sum+8(FP), DI
	MOVQ data+16(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTI32X4 reverse<>(SB), Z31
	VMOVDQU (DI), X14
	VPSHUFB X31, X14, X14
	XORL R10, R10

piece:
	TESTQ CX, CX
	JLE  done
	MOVQ $64, R9
	CMPQ CX, R9
	CMOVQLT CX, R9
	LEAQ 15(R9), R8
	ANDQ $~15, R8
	LEAQ POWERS_END(DX), AX
	SUBQ R8, AX
	MOVQ $-1, R11
	BZHIQ R9, R11, BX
	KMOVQ BX, K1
	VMOVDQU8.Z (SI), K1, Z0
	VPSHUFB Z31, Z0, Z0
	VPXORQ Z14, Z0, Z0
	VPXORQ Z8, Z8, Z8
	VPXORQ Z9, Z9, Z9
	VPXORQ Z10, Z10, Z10
	MULTIPLY((AX), Z0)
	REDUCE
	ADDQ $64, SI
	SUBQ $64, CX
	JMP  piece

done:
	VPSHUFB X31, X14, X14
	VMOVDQU X14, (DI)
	VZEROUPPER
	RET
