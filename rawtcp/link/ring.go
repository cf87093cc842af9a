package link

import (
	"errors"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring takes packets from memory shared with the kernel (TPACKET_V2, kernel
// documentation: networking/packet_mmap), without a system call per packet.
//
//	| frame | frame | frame | ...      each: tpacket2_hdr | sockaddr_ll | vnet_hdr | link layer | IP ...
//
// A packet that does not fit its frame, as super-segments do not, lies whole in
// the socket's queue; its frame then says so, and that keeps the order.
// TPACKET_V3 would pack frames of any size, but delays them by a timeout.
type ring struct {
	mem    []byte
	frames int
	head   int // the next frame to read
	held   int // frames before head that the last batch still points into
	arena  []byte
	from   unix.RawSockaddrLinklayer
}

const (
	ringFrame = 2048 // holds a packet of 1500 bytes with all that is in front
	ringBlock = 64 << 10
	usualRing = 3 << 20 // bytes, 1536 packets: a few milliseconds at full rate
	leastRing = 1 << 20 // twice what a batch holds on to

	statusKernel = 0      // TP_STATUS_KERNEL: free for the kernel to fill
	statusUser   = 1 << 0 // TP_STATUS_USER: filled
	statusCopy   = 1 << 1 // TP_STATUS_COPY: lies whole in the queue
)

// tpacket2Hdr is followed by a sockaddr_ll at the next multiple of 16.
const ringAddress = 32

// openRing makes a ring of about so many bytes.
func openRing(size int) (fd int, r *ring, err error) {
	blocks := max(size, leastRing) / ringBlock
	frames := ringBlock / ringFrame * blocks
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1),
	)
	if err == nil {
		err = unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: ringBlock, Block_nr: uint32(blocks), Frame_size: ringFrame, Frame_nr: uint32(frames),
		})
	}
	var mem []byte
	if err == nil {
		mem, err = unix.Mmap(fd, 0, ringBlock*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, &ring{mem: mem, frames: frames, arena: make([]byte, arenaLen)}, nil
}

func (r *ring) take(fd int, batch []Packet) []Packet {
	for ; r.held > 0; r.held-- {
		i := (r.head - r.held + r.frames) % r.frames
		atomic.StoreUint32(r.status(i), statusKernel)
	}
	used := 0
	for len(batch) < maxBatch && r.held < 2*maxBatch {
		status := atomic.LoadUint32(r.status(r.head))
		if status&statusUser == 0 {
			break
		}
		frame := r.mem[r.head*ringFrame:][:ringFrame]
		h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&frame[0]))
		var p Packet
		var ok bool
		switch {
		case status&statusCopy != 0:
			if len(r.arena)-used < maxPacket {
				return batch // its turn comes with the next batch
			}
			b, errno := recvfrom(fd, r.arena[used:], &r.from)
			front := vnetLen + int(h.Net) - int(h.Mac)
			if errno == 0 && front >= vnetLen && front <= len(b) {
				p, ok = parse(b[front:], segmentSize(b), originOf(&r.from))
				used += (len(b) + 63) &^ 63
			}
		case h.Snaplen == h.Len:
			from, to := int(h.Net), int(h.Mac)+int(h.Snaplen)
			if int(h.Mac) >= ringAddress+vnetLen && from >= int(h.Mac) && from <= to && to <= ringFrame {
				address := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&frame[ringAddress]))
				p, ok = parse(frame[from:to:to], segmentSize(frame[h.Mac-vnetLen:]), originOf(address))
			}
		}
		if r.head++; r.head == r.frames {
			r.head = 0
		}
		r.held++
		if ok {
			batch = append(batch, p)
		}
	}
	return batch
}

// status is the word by which a frame changes hands.
func (r *ring) status(i int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[i*ringFrame]))
}

// release unmaps the ring; nothing that take returned may be used any more.
func (r *ring) release() {
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
		r.mem = nil
	}
}
