// What the registers hold while text is worked on:
//
//	Z0-Z3    key stream of a stride (sixteen blocks), or of the tail
//	Z4-Z7    text to take into the hash, bytes of each block in reverse
//	Z8-Z10   sums of products: low halves, high halves, middle
//	Z11      counters of the next four blocks, bytes in reverse
//	Z12, Z13 scratch
//	Z14      the hash so far, in its first block; then the powers of four blocks
//	X15      the encrypted first counter, which masks the tag
//	Z16-Z30  round keys
//	Z31      what reverses the bytes of each block
//
//	AX       powers of H, from that of the next block to hash
//	CX       bytes behind the piece under work; below zero: it is the last
//	DX       wideGCM
//	SI, DI   where the text is read and written
//	R8, R9   strides and, behind them, bytes under work
//	R10      how far the tail is behind SI, DI and AX
//	K1-K4    the bytes of the tail

// Where the powers end in wideGCM, with H; and how many blocks of text they reach for.
#define POWERS_END 1792
#define LONGEST 96

// COUNTER gives the next four counter blocks, under the first round key.
#define COUNTER(z) \
	VPSHUFB Z31, Z11, z;       \
	VPADDD four<>(SB), Z11, Z11; \
	VPXORQ Z16, z, z

#define COUNTERS(a, b, c, d) \
	COUNTER(a); \
	COUNTER(b); \
	COUNTER(c); \
	COUNTER(d)

#define ROUND2(key, a, b) \
	VAESENC key, a, a; \
	VAESENC key, b, b

#define ROUND4(key, a, b, c, d) \
	ROUND2(key, a, b); \
	ROUND2(key, c, d)

#define ROUND6(key) \
	ROUND2(key, Z0, Z1); \
	ROUND4(key, Z4, Z5, Z6, Z7)

#define ROUND8(key) \
	ROUND4(key, Z0, Z1, Z2, Z3); \
	ROUND4(key, Z4, Z5, Z6, Z7)

#define LAST2(a, b) \
	VAESENCLAST Z30, a, a; \
	VAESENCLAST Z30, b, b

#define LAST4(a, b, c, d) \
	LAST2(a, b); \
	LAST2(c, d)

// ROUNDS4 are the rounds between the first key and the last.
#define ROUNDS4(a, b, c, d) \
	ROUND4(Z17, a, b, c, d); \
	ROUND4(Z18, a, b, c, d); \
	ROUND4(Z19, a, b, c, d); \
	ROUND4(Z20, a, b, c, d); \
	ROUND4(Z21, a, b, c, d); \
	ROUND4(Z22, a, b, c, d); \
	ROUND4(Z23, a, b, c, d); \
	ROUND4(Z24, a, b, c, d); \
	ROUND4(Z25, a, b, c, d); \
	ROUND4(Z26, a, b, c, d); \
	ROUND4(Z27, a, b, c, d); \
	ROUND4(Z28, a, b, c, d); \
	ROUND4(Z29, a, b, c, d)

// OUTER adds the products of the low halves and of the high halves of four blocks
// and their powers to the sums; INNER, behind it, those of low and high.
#define OUTER(power, text) \
	VMOVDQU64 power, Z14;                 \
	VPCLMULQDQ $0x00, Z14, text, Z12;     \
	VPCLMULQDQ $0x11, Z14, text, Z13;     \
	VPXORQ Z12, Z8, Z8;                   \
	VPXORQ Z13, Z9, Z9

#define INNER(text) \
	VPCLMULQDQ $0x01, Z14, text, Z12;     \
	VPCLMULQDQ $0x10, Z14, text, Z13;     \
	VPTERNLOGQ $0x96, Z12, Z13, Z10

#define MULTIPLY(power, text) \
	OUTER(power, text); \
	INNER(text)

// STRIDE makes the key stream of a stride and hashes the one before beside it:
// the multiplications fill the gaps between the rounds, which wait for each other.
#define STRIDE \
	COUNTERS(Z0, Z1, Z2, Z3);      \
	ROUND4(Z17, Z0, Z1, Z2, Z3);   \
	OUTER((AX), Z4);               \
	ROUND4(Z18, Z0, Z1, Z2, Z3);   \
	INNER(Z4);                     \
	ROUND4(Z19, Z0, Z1, Z2, Z3);   \
	ROUND4(Z20, Z0, Z1, Z2, Z3);   \
	OUTER(64(AX), Z5);             \
	ROUND4(Z21, Z0, Z1, Z2, Z3);   \
	INNER(Z5);                     \
	ROUND4(Z22, Z0, Z1, Z2, Z3);   \
	ROUND4(Z23, Z0, Z1, Z2, Z3);   \
	OUTER(128(AX), Z6);            \
	ROUND4(Z24, Z0, Z1, Z2, Z3);   \
	INNER(Z6);                     \
	ROUND4(Z25, Z0, Z1, Z2, Z3);   \
	ROUND4(Z26, Z0, Z1, Z2, Z3);   \
	OUTER(192(AX), Z7);            \
	ROUND4(Z27, Z0, Z1, Z2, Z3);   \
	INNER(Z7);                     \
	ROUND4(Z28, Z0, Z1, Z2, Z3);   \
	ROUND4(Z29, Z0, Z1, Z2, Z3);   \
	LAST4(Z0, Z1, Z2, Z3)

// REDUCE makes the hash, in X14, of the sums: it folds the middle into the halves,
// four blocks into one, and divides by the polynomial.
#define REDUCE \
	VPSRLDQ $8, Z10, Z12;       \
	VPSLLDQ $8, Z10, Z13;       \
	VPXORQ Z12, Z9, Z9;         \
	VPXORQ Z13, Z8, Z8;         \
	VEXTRACTI64X4 $1, Z8, Y12;  \
	VEXTRACTI64X4 $1, Z9, Y13;  \
	VPXOR Y12, Y8, Y8;          \
	VPXOR Y13, Y9, Y9;          \
	VEXTRACTI128 $1, Y8, X12;   \
	VEXTRACTI128 $1, Y9, X13;   \
	VPXOR X12, X8, X8;          \
	VPXOR X13, X9, X9;          \
	VPCLMULQDQ $0x10, polynomial<>(SB), X8, X12; \
	VPSHUFD $78, X8, X8;        \
	VPXOR X12, X8, X8;          \
	VPCLMULQDQ $0x10, polynomial<>(SB), X8, X12; \
	VPSHUFD $78, X8, X8;        \
	VPXOR X8, X9, X9;           \
	VPXOR X12, X9, X14

// MASK makes k choose the bytes of a register that begins at offset, of R9 (below
// 256) bytes in all. R11 is all ones, R13 zero; R12 and BX are scratch.
#define MASK(offset, k) \
	MOVQ R9, R12;         \
	SUBQ $offset, R12;    \
	CMOVQLT R13, R12;     \
	BZHIQ R12, R11, BX;   \
	KMOVQ BX, k

#define MASKS \
	MOVQ $-1, R11; \
	XORL R13, R13; \
	MASK(0, K1);   \
	MASK(64, K2);  \
	MASK(128, K3); \
	MASK(192, K4)

// BEGIN loads keys and counters and encrypts the counter block of the nonce, at
// BX. Nothing waits for the result, so the processor does it beside the text. The
// nonce is read as a word and a counter because that is how it is mostly written,
// a moment before: any other reading waits until the writes are through.
#define BEGIN \
	MOVL (BX), R8;                  \
	MOVQ 4(BX), R9;                 \
	MOVQ R9, R10;                   \
	SHLQ $32, R9;                   \
	ORQ R9, R8;                     \
	SHRQ $32, R10;                  \
	BTSQ $56, R10;                  \
	VMOVQ R8, X15;                  \
	VPINSRQ $1, R10, X15, X15;      \
	VBROADCASTI32X4 reverse<>(SB), Z31; \
	VSHUFI32X4 $0, Z15, Z15, Z11;   \
	VPSHUFB Z31, Z11, Z11;          \
	VPADDD first<>(SB), Z11, Z11;   \
	VBROADCASTI32X4 0(DX), Z16;     \
	VBROADCASTI32X4 16(DX), Z17;    \
	VBROADCASTI32X4 32(DX), Z18;    \
	VBROADCASTI32X4 48(DX), Z19;    \
	VBROADCASTI32X4 64(DX), Z20;    \
	VBROADCASTI32X4 80(DX), Z21;    \
	VBROADCASTI32X4 96(DX), Z22;    \
	VBROADCASTI32X4 112(DX), Z23;   \
	VBROADCASTI32X4 128(DX), Z24;   \
	VBROADCASTI32X4 144(DX), Z25;   \
	VBROADCASTI32X4 160(DX), Z26;   \
	VBROADCASTI32X4 176(DX), Z27;   \
	VBROADCASTI32X4 192(DX), Z28;   \
	VBROADCASTI32X4 208(DX), Z29;   \
	VBROADCASTI32X4 224(DX), Z30;   \
	VPXORQ X16, X15, X15;  \
	VAESENC X17, X15, X15; \
	VAESENC X18, X15, X15; \
	VAESENC X19, X15, X15; \
	VAESENC X20, X15, X15; \
	VAESENC X21, X15, X15; \
	VAESENC X22, X15, X15; \
	VAESENC X23, X15, X15; \
	VAESENC X24, X15, X15; \
	VAESENC X25, X15, X15; \
	VAESENC X26, X15, X15; \
	VAESENC X27, X15, X15; \
	VAESENC X28, X15, X15; \
	VAESENC X29, X15, X15; \
	VAESENCLAST X30, X15, X15
