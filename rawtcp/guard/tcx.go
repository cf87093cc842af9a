package guard

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// tcx attaches the program by links, which the kernel removes together with the
// process that holds them: nothing can be left over.
type tcx struct {
	*program
	links map[int]link.Link
}

func newTCX() (*tcx, error) {
	p, err := loadProgram()
	if err != nil {
		return nil, err
	}
	return &tcx{program: p, links: map[int]link.Link{}}, nil
}

func (t *tcx) name() string { return "tcx" }

func (t *tcx) attach(index int, _ string) error {
	// In front of all others, which might send the packet elsewhere.
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: index, Program: t.prog, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
	})
	if err != nil {
		return fmt.Errorf("attach to tcx ingress: %w", err)
	}
	t.links[index] = l
	return nil
}

func (t *tcx) detach(index int) {
	if l := t.links[index]; l != nil {
		l.Close()
		delete(t.links, index)
	}
}

func (t *tcx) close() error {
	var errs []error
	for index, l := range t.links {
		errs = append(errs, l.Close())
		delete(t.links, index)
	}
	return errors.Join(append(errs, t.program.close())...)
}
