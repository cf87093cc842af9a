// The text of a message, and its tag into X14. This is included in seal and in
// open, which differ only in what CRYPT and CRYPTTAIL hash.
//
// As there is a power of H for every block of a datagram, the products need only
// be added, in any order, and the sum is reduced once. So the tail, what is left
// behind the strides, is done first, beside the first stride: alone at the end it
// would keep the processor waiting for the rounds. Each stride is hashed beside the
// rounds of the next. Longer messages are done in pieces of LONGEST blocks.

piece:
	CMPQ CX, $(16*LONGEST)
	JLE  last
	SUBQ $(16*LONGEST), CX
	LEAQ (POWERS_END-16*LONGEST)(DX), AX
	MOVQ $(LONGEST/16), R8
	XORL R9, R9
	VPXORQ Z8, Z8, Z8
	VPXORQ Z9, Z9, Z9
	VPXORQ Z10, Z10, Z10
	JMP  even

last:
	// The sums begin with the product of the lengths and H. If there is no text,
	// the hash before it goes in here as well.
	MOVQ additional+48(FP), R8
	MOVQ n+24(FP), R9
	SHLQ $3, R8
	SHLQ $3, R9
	VMOVQ R9, X0
	VPINSRQ $1, R8, X0, X0
	TESTQ CX, CX
	JNZ  some
	VPXOR X14, X0, X0

some:
	VMOVDQU (POWERS_END-16)(DX), X1
	VPCLMULQDQ $0x00, X1, X0, X8
	VPCLMULQDQ $0x11, X1, X0, X9
	VPCLMULQDQ $0x01, X1, X0, X10
	VPCLMULQDQ $0x10, X1, X0, X12
	VPXOR X12, X10, X10

	// The last block of the text belongs to H^2.
	LEAQ 15(CX), R10
	ANDQ $~15, R10
	LEAQ (POWERS_END-16)(DX), AX
	SUBQ R10, AX
	MOVQ CX, R8
	SHRQ $8, R8
	MOVBLZX CX, R9
	MOVQ $-1, CX
	TESTQ R9, R9
	JNZ  tail
	TESTQ R8, R8
	JZ   reduce

even:
	COUNTERS(Z4, Z5, Z6, Z7)
	ROUNDS4(Z4, Z5, Z6, Z7)
	LAST4(Z4, Z5, Z6, Z7)
	CRYPT(0, Z4, Z4)
	CRYPT(64, Z5, Z5)
	CRYPT(128, Z6, Z6)
	CRYPT(192, Z7, Z7)
	VPXORQ Z14, Z4, Z4
	JMP  next

tail:
	MASKS
	MOVQ R8, R10
	SHLQ $8, R10
	TESTQ R8, R8
	JZ   short
	COUNTERS(Z4, Z5, Z6, Z7)
	// From the counters behind the first stride to those of the tail.
	LEAQ -1(R8), R12
	SHLQ $4, R12
	VMOVD R12, X12
	VSHUFI32X4 $0, Z12, Z12, Z12
	VPADDD Z12, Z11, Z13
	VPSHUFB Z31, Z13, Z0
	VPADDD four<>(SB), Z13, Z13
	VPXORQ Z16, Z0, Z0
	VPSHUFB Z31, Z13, Z1
	VPADDD four<>(SB), Z13, Z13
	VPXORQ Z16, Z1, Z1
	CMPQ R9, $128
	JGT  eight
	ROUND6(Z17)
	ROUND6(Z18)
	ROUND6(Z19)
	ROUND6(Z20)
	ROUND6(Z21)
	ROUND6(Z22)
	ROUND6(Z23)
	ROUND6(Z24)
	ROUND6(Z25)
	ROUND6(Z26)
	ROUND6(Z27)
	ROUND6(Z28)
	ROUND6(Z29)
	LAST4(Z4, Z5, Z6, Z7)
	LAST2(Z0, Z1)
	JMP  head

eight:
	VPSHUFB Z31, Z13, Z2
	VPADDD four<>(SB), Z13, Z13
	VPXORQ Z16, Z2, Z2
	VPSHUFB Z31, Z13, Z3
	VPXORQ Z16, Z3, Z3
	ROUND8(Z17)
	ROUND8(Z18)
	ROUND8(Z19)
	ROUND8(Z20)
	ROUND8(Z21)
	ROUND8(Z22)
	ROUND8(Z23)
	ROUND8(Z24)
	ROUND8(Z25)
	ROUND8(Z26)
	ROUND8(Z27)
	ROUND8(Z28)
	ROUND8(Z29)
	LAST4(Z4, Z5, Z6, Z7)
	LAST4(Z0, Z1, Z2, Z3)

head:
	CRYPT(0, Z4, Z4)
	CRYPT(64, Z5, Z5)
	CRYPT(128, Z6, Z6)
	CRYPT(192, Z7, Z7)
	VPXORQ Z14, Z4, Z4
	VPXORQ Z14, Z14, Z14
	JMP  partial

short:
	COUNTERS(Z0, Z1, Z2, Z3)
	ROUNDS4(Z0, Z1, Z2, Z3)
	LAST4(Z0, Z1, Z2, Z3)

partial:
	CRYPTTAIL(0, K1, Z0)
	CRYPTTAIL(64, K2, Z1)
	VPXORQ Z14, Z0, Z0
	MULTIPLY((AX)(R10*1), Z0)
	MULTIPLY(64(AX)(R10*1), Z1)
	CMPQ R9, $128
	JLE  behind
	CRYPTTAIL(128, K3, Z2)
	CRYPTTAIL(192, K4, Z3)
	MULTIPLY(128(AX)(R10*1), Z2)
	MULTIPLY(192(AX)(R10*1), Z3)

behind:
	TESTQ R8, R8
	JZ   reduce

next:
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ R8
	JZ   sum

stride:
	STRIDE
	CRYPT(0, Z0, Z4)
	CRYPT(64, Z1, Z5)
	CRYPT(128, Z2, Z6)
	CRYPT(192, Z3, Z7)
	ADDQ $256, AX
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ R8
	JNZ  stride

sum:
	MULTIPLY((AX), Z4)
	MULTIPLY(64(AX), Z5)
	MULTIPLY(128(AX), Z6)
	MULTIPLY(192(AX), Z7)

reduce:
	REDUCE
	TESTQ CX, CX
	JGE  piece
	VPSHUFB X31, X14, X14
	VPXOR X15, X14, X14
