package impair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring receives the frames of one device in memory shared with the kernel
// (TPACKET_V2, kernel documentation: networking/packet_mmap): without a system
// call per frame and with the time at which the kernel saw each.
type ring struct {
	fd   int
	mem  []byte
	head int
}

const (
	// frameRoom is the longest frame that a line carries.
	frameRoom = ringFrame - 128 // what the kernel writes in front of it

	ringFrame  = 2048
	ringBlock  = 128 << 10
	ringBlocks = 256 // 32 MiB, 16384 frames: 370 ms at 500 Mbit/s of 1400 bytes
	ringFrames = ringBlock / ringFrame * ringBlocks

	statusKernel       = 0      // TP_STATUS_KERNEL: free for the kernel to fill
	statusUser         = 1 << 0 // TP_STATUS_USER: filled
	statusChecksumOpen = 1 << 3 // TP_STATUS_CSUMNOTREADY: a device would have completed it
)

// openRing opens the ring in the calling thread's namespace.
func openRing(device int) (r *ring, err error) {
	r = new(ring)
	// Protocol 0: nothing comes in before bind.
	if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2),
		unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: ringBlock, Block_nr: ringBlocks, Frame_size: ringFrame, Frame_nr: ringFrames,
		}))
	if err == nil {
		r.mem, err = unix.Mmap(r.fd, 0, ringBlock*ringBlocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		err = unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: device})
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("receive ring: %w", err)
	}
	return r, nil
}

// arrival is one frame of a ring. It may be read until the ring's next advance.
type arrival struct {
	frame []byte
	wall  int64 // when the kernel saw it, ns since 1970
	whole bool  // otherwise it is longer than the ring's frames, or its checksum is missing
}

// peek is the oldest frame that waits; false if none does.
func (r *ring) peek() (arrival, bool) {
	status := atomic.LoadUint32(r.status())
	if status&statusUser == 0 {
		return arrival{}, false
	}
	slot := r.mem[r.head*ringFrame:][:ringFrame]
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
	return arrival{
		frame: slot[h.Mac:][:h.Snaplen],
		wall:  int64(h.Sec)*int64(time.Second) + int64(h.Nsec),
		whole: h.Snaplen == h.Len && h.Len <= frameRoom && status&statusChecksumOpen == 0,
	}, true
}

// advance gives the frame that peek showed back to the kernel.
func (r *ring) advance() {
	atomic.StoreUint32(r.status(), statusKernel)
	r.head = (r.head + 1) % ringFrames
}

func (r *ring) status() *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[r.head*ringFrame]))
}

// overrun is how many frames found the ring full since the last call.
func (r *ring) overrun() uint64 {
	stats, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(stats.Drops)
}

func (r *ring) close() {
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
	}
	unix.Close(r.fd)
}

func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}
