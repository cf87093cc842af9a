#include "textflag.h"

// What the registers hold, in seal and open alike:
//
//	Z0-Z3    a stride: sixteen blocks of key stream, then of text
//	Z4, Z5   counters of the next four blocks, bytes in reverse; the step to those after
//	Z6-Z8    sums of products: low halves, high halves, middle
//	Z9, Z14  scratch
//	Z10-Z13  H^16 to H^1
//	Z15      the hash so far, in its first block; the others are zero
//	Z16-Z30  round keys
//	Z31      what reverses the bytes of each block

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
GLOBL four<>(SB), RODATA|NOPTR, $16

// GCM's polynomial, reflected.
DATA polynomial<>+0(SB)/8, $0x0000000000000001
DATA polynomial<>+8(SB)/8, $0xc200000000000000
GLOBL polynomial<>(SB), RODATA|NOPTR, $16

// MASK makes k choose the bytes of a register that begins at offset, of CX (below
// 256) bytes in all. R8 is all ones, R11 zero; R9 and R10 are scratch.
#define MASK(offset, k) \
	MOVQ CX, R10;       \
	SUBQ $offset, R10;  \
	CMOVQLT R11, R10;   \
	BZHIQ R10, R8, R9;  \
	KMOVQ R9, k

// MASKS chooses the CX bytes that are left among four registers.
#define MASKS \
	MOVQ $-1, R8;   \
	XORL R11, R11;  \
	MASK(0, K1);    \
	MASK(64, K2);   \
	MASK(128, K3);  \
	MASK(192, K4)

// ROUND is one round of AES on a stride.
#define ROUND(key) \
	VAESENC key, Z0, Z0; \
	VAESENC key, Z1, Z1; \
	VAESENC key, Z2, Z2; \
	VAESENC key, Z3, Z3

// KEYSTREAM fills Z0 to Z3 with the encryption of the next sixteen counters.
#define KEYSTREAM \
	VPSHUFB Z31, Z4, Z0; \
	VPADDD Z5, Z4, Z4;   \
	VPSHUFB Z31, Z4, Z1; \
	VPADDD Z5, Z4, Z4;   \
	VPSHUFB Z31, Z4, Z2; \
	VPADDD Z5, Z4, Z4;   \
	VPSHUFB Z31, Z4, Z3; \
	VPADDD Z5, Z4, Z4;   \
	VPXORQ Z16, Z0, Z0;  \
	VPXORQ Z16, Z1, Z1;  \
	VPXORQ Z16, Z2, Z2;  \
	VPXORQ Z16, Z3, Z3;  \
	ROUND(Z17); \
	ROUND(Z18); \
	ROUND(Z19); \
	ROUND(Z20); \
	ROUND(Z21); \
	ROUND(Z22); \
	ROUND(Z23); \
	ROUND(Z24); \
	ROUND(Z25); \
	ROUND(Z26); \
	ROUND(Z27); \
	ROUND(Z28); \
	ROUND(Z29); \
	VAESENCLAST Z30, Z0, Z0; \
	VAESENCLAST Z30, Z1, Z1; \
	VAESENCLAST Z30, Z2, Z2; \
	VAESENCLAST Z30, Z3, Z3

// MULTIPLY adds the products of four blocks and four powers to the sums.
#define MULTIPLY(powers, blocks) \
	VPCLMULQDQ $0x00, powers, blocks, Z9;  \
	VPCLMULQDQ $0x11, powers, blocks, Z14; \
	VPXORQ Z9, Z6, Z6;                     \
	VPXORQ Z14, Z7, Z7;                    \
	VPCLMULQDQ $0x01, powers, blocks, Z9;  \
	VPCLMULQDQ $0x10, powers, blocks, Z14; \
	VPTERNLOGQ $0x96, Z9, Z14, Z8

// REDUCE makes the hash, in X15, of the sums of one block's products.
#define REDUCE \
	VPCLMULQDQ $0x10, polynomial<>(SB), X6, X9; \
	VPSHUFD $78, X6, X6; \
	VPXOR X9, X6, X6;    \
	VPCLMULQDQ $0x10, polynomial<>(SB), X6, X9; \
	VPSHUFD $78, X6, X6; \
	VPXOR X9, X6, X6;    \
	VPXOR X7, X6, X15

// HASH takes the text in a, b, c and d, which it changes, into the hash.
#define HASH(a, b, c, d) \
	VPSHUFB Z31, a, a;   \
	VPSHUFB Z31, b, b;   \
	VPSHUFB Z31, c, c;   \
	VPSHUFB Z31, d, d;   \
	VPXORQ Z6, Z6, Z6;   \
	VPXORQ Z7, Z7, Z7;   \
	VPXORQ Z8, Z8, Z8;   \
	MULTIPLY(Z11, b);    \
	MULTIPLY(Z12, c);    \
	MULTIPLY(Z13, d);    \
	VPXORQ Z15, a, a;    \
	MULTIPLY(Z10, a);    \
	VPSRLDQ $8, Z8, Z9;  \
	VPSLLDQ $8, Z8, Z14; \
	VPXORQ Z9, Z7, Z7;   \
	VPXORQ Z14, Z6, Z6;  \
	VEXTRACTI64X4 $1, Z6, Y9;  \
	VEXTRACTI64X4 $1, Z7, Y14; \
	VPXORQ Y9, Y6, Y6;   \
	VPXORQ Y14, Y7, Y7;  \
	VEXTRACTI128 $1, Y6, X9;   \
	VEXTRACTI128 $1, Y7, X14;  \
	VPXOR X9, X6, X6;    \
	VPXOR X14, X7, X7;   \
	REDUCE

// FINISH takes the block at lengths into the hash and adds the result to the
// mask that is at tag.
#define FINISH(lengths, tag) \
	VMOVDQU (lengths), X1;  \
	VPSHUFB X31, X1, X1;    \
	VPXOR X15, X1, X1;      \
	VMOVDQU 240(AX), X2;    \
	VPCLMULQDQ $0x00, X2, X1, X6;  \
	VPCLMULQDQ $0x11, X2, X1, X7;  \
	VPCLMULQDQ $0x01, X2, X1, X9;  \
	VPCLMULQDQ $0x10, X2, X1, X14; \
	VPXOR X14, X9, X8;      \
	VPSRLDQ $8, X8, X9;     \
	VPSLLDQ $8, X8, X14;    \
	VPXOR X9, X7, X7;       \
	VPXOR X14, X6, X6;      \
	REDUCE;                 \
	VPSHUFB X31, X15, X15;  \
	VPXOR (tag), X15, X15;  \
	VMOVDQU X15, (tag)

// POWERS loads the powers, at AX.
#define POWERS \
	VMOVDQU64 (AX), Z10;    \
	VMOVDQU64 64(AX), Z11;  \
	VMOVDQU64 128(AX), Z12; \
	VMOVDQU64 192(AX), Z13

// LASTPOWERS loads those that belong to the CX bytes that are left: the last
// block is multiplied by H. It uses R9.
#define LASTPOWERS \
	LEAQ 15(CX), R9;    \
	ANDQ $~15, R9;      \
	NEGQ R9;            \
	VMOVDQU64 256(AX)(R9*1), Z10; \
	VMOVDQU64 320(AX)(R9*1), Z11; \
	VMOVDQU64 384(AX)(R9*1), Z12; \
	VMOVDQU64 448(AX)(R9*1), Z13

// BEGIN loads what seal and open need. BX is the counter block, R12 the hash so
// far, DX the keys, AX the powers.
#define BEGIN \
	VBROADCASTI32X4 0(DX), Z16; \
	VBROADCASTI32X4 16(DX), Z17; \
	VBROADCASTI32X4 32(DX), Z18; \
	VBROADCASTI32X4 48(DX), Z19; \
	VBROADCASTI32X4 64(DX), Z20; \
	VBROADCASTI32X4 80(DX), Z21; \
	VBROADCASTI32X4 96(DX), Z22; \
	VBROADCASTI32X4 112(DX), Z23; \
	VBROADCASTI32X4 128(DX), Z24; \
	VBROADCASTI32X4 144(DX), Z25; \
	VBROADCASTI32X4 160(DX), Z26; \
	VBROADCASTI32X4 176(DX), Z27; \
	VBROADCASTI32X4 192(DX), Z28; \
	VBROADCASTI32X4 208(DX), Z29; \
	VBROADCASTI32X4 224(DX), Z30; \
	VBROADCASTI32X4 reverse<>(SB), Z31; \
	VMOVDQU (R12), X15;         \
	VPSHUFB X31, X15, X15;      \
	VBROADCASTI32X4 (BX), Z4;   \
	VPSHUFB Z31, Z4, Z4;        \
	VPADDD first<>(SB), Z4, Z4; \
	VBROADCASTI32X4 four<>(SB), Z5

// TAGMASK encrypts the counter block of the nonce itself. Nothing waits for the
// result, so the processor does it beside the first stride.
#define TAGMASK(tag) \
	VPXORQ (BX), X16, X0; \
	VAESENC X17, X0, X0; \
	VAESENC X18, X0, X0; \
	VAESENC X19, X0, X0; \
	VAESENC X20, X0, X0; \
	VAESENC X21, X0, X0; \
	VAESENC X22, X0, X0; \
	VAESENC X23, X0, X0; \
	VAESENC X24, X0, X0; \
	VAESENC X25, X0, X0; \
	VAESENC X26, X0, X0; \
	VAESENC X27, X0, X0; \
	VAESENC X28, X0, X0; \
	VAESENC X29, X0, X0; \
	VAESENCLAST X30, X0, X0; \
	VMOVDQU X0, (tag)

// func seal(gcm *wideGCM, dst, src *byte, n int, counter, sum, lengths, tag *block)
TEXT ·seal(SB), NOSPLIT, $0-64
	MOVQ gcm+0(FP), DX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ counter+32(FP), BX
	MOVQ sum+40(FP), R12
	MOVQ tag+56(FP), R13
	LEAQ 240(DX), AX // the powers stand behind the keys
	BEGIN
	TAGMASK(R13)
	CMPQ CX, $256
	JLT  rest
	POWERS

stride:
	KEYSTREAM
	VPXORQ (SI), Z0, Z0
	VPXORQ 64(SI), Z1, Z1
	VPXORQ 128(SI), Z2, Z2
	VPXORQ 192(SI), Z3, Z3
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	HASH(Z0, Z1, Z2, Z3)
	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $256, CX
	CMPQ CX, $256
	JGE  stride

rest:
	TESTQ CX, CX
	JZ   finish
	MASKS
	LASTPOWERS
	KEYSTREAM
	VMOVDQU8.Z (SI), K1, Z6
	VMOVDQU8.Z 64(SI), K2, Z7
	VMOVDQU8.Z 128(SI), K3, Z8
	VMOVDQU8.Z 192(SI), K4, Z9
	VPXORQ Z6, Z0, Z0
	VPXORQ Z7, Z1, Z1
	VPXORQ Z8, Z2, Z2
	VPXORQ Z9, Z3, Z3
	VMOVDQU8 Z0, K1, (DI)
	VMOVDQU8 Z1, K2, 64(DI)
	VMOVDQU8 Z2, K3, 128(DI)
	VMOVDQU8 Z3, K4, 192(DI)
	VMOVDQU8.Z Z0, K1, Z0
	VMOVDQU8.Z Z1, K2, Z1
	VMOVDQU8.Z Z2, K3, Z2
	VMOVDQU8.Z Z3, K4, Z3
	HASH(Z0, Z1, Z2, Z3)

finish:
	MOVQ lengths+48(FP), R9
	FINISH(R9, R13)
	VZEROUPPER
	RET

// func open(gcm *wideGCM, dst, src *byte, n int, counter, sum, lengths, tag *block)
TEXT ·open(SB), NOSPLIT, $0-64
	MOVQ gcm+0(FP), DX
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ counter+32(FP), BX
	MOVQ sum+40(FP), R12
	MOVQ tag+56(FP), R13
	LEAQ 240(DX), AX // the powers stand behind the keys
	BEGIN
	TAGMASK(R13)
	CMPQ CX, $256
	JLT  rest
	POWERS

stride:
	KEYSTREAM
	VMOVDQU64 (SI), Z6
	VMOVDQU64 64(SI), Z7
	VMOVDQU64 128(SI), Z8
	VMOVDQU64 192(SI), Z9
	VPXORQ Z6, Z0, Z0
	VPXORQ Z7, Z1, Z1
	VPXORQ Z8, Z2, Z2
	VPXORQ Z9, Z3, Z3
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	VMOVDQA64 Z6, Z0
	VMOVDQA64 Z7, Z1
	VMOVDQA64 Z8, Z2
	VMOVDQA64 Z9, Z3
	HASH(Z0, Z1, Z2, Z3)
	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $256, CX
	CMPQ CX, $256
	JGE  stride

rest:
	TESTQ CX, CX
	JZ   finish
	MASKS
	LASTPOWERS
	KEYSTREAM
	VMOVDQU8.Z (SI), K1, Z6
	VMOVDQU8.Z 64(SI), K2, Z7
	VMOVDQU8.Z 128(SI), K3, Z8
	VMOVDQU8.Z 192(SI), K4, Z9
	VPXORQ Z6, Z0, Z0
	VPXORQ Z7, Z1, Z1
	VPXORQ Z8, Z2, Z2
	VPXORQ Z9, Z3, Z3
	VMOVDQU8 Z0, K1, (DI)
	VMOVDQU8 Z1, K2, 64(DI)
	VMOVDQU8 Z2, K3, 128(DI)
	VMOVDQU8 Z3, K4, 192(DI)
	VMOVDQA64 Z6, Z0
	VMOVDQA64 Z7, Z1
	VMOVDQA64 Z8, Z2
	VMOVDQA64 Z9, Z3
	HASH(Z0, Z1, Z2, Z3)

finish:
	MOVQ lengths+48(FP), R9
	FINISH(R9, R13)
	VZEROUPPER
	RET

// func hash(gcm *wideGCM, sum *block, data *byte, n int)
TEXT ·hash(SB), NOSPLIT, $0-32
	MOVQ gcm+0(FP), AX
	MOVQ sum+8(FP), BX
	MOVQ data+16(FP), SI
	MOVQ n+24(FP), CX
	ADDQ $240, AX
	VBROADCASTI32X4 reverse<>(SB), Z31
	VMOVDQU (BX), X15
	VPSHUFB X31, X15, X15
	CMPQ CX, $256
	JLT  rest
	POWERS

stride:
	VMOVDQU64 (SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	HASH(Z0, Z1, Z2, Z3)
	ADDQ $256, SI
	SUBQ $256, CX
	CMPQ CX, $256
	JGE  stride

rest:
	TESTQ CX, CX
	JZ   done
	MASKS
	LASTPOWERS
	VMOVDQU8.Z (SI), K1, Z0
	VMOVDQU8.Z 64(SI), K2, Z1
	VMOVDQU8.Z 128(SI), K3, Z2
	VMOVDQU8.Z 192(SI), K4, Z3
	HASH(Z0, Z1, Z2, Z3)

done:
	VPSHUFB X31, X15, X15
	VMOVDQU X15, (BX)
	VZEROUPPER
	RET
