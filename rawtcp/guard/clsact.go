package guard

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clsact attaches the program as a tc filter, for kernels without tcx. The
// filter outlives the process; its name tells whose it was.
type clsact struct {
	*program
	handle *netlink.Handle
	filter string
	// made holds the interfaces that had no clsact qdisc before us.
	links map[int]bool
	made  map[int]bool
}

const filterPrefix = "lightweight-tunnel:"

func newClsact(handle *netlink.Handle, owner string) (*clsact, error) {
	p, err := loadProgram()
	if err != nil {
		return nil, err
	}
	return &clsact{program: p, handle: handle, filter: filterPrefix + owner, links: map[int]bool{}, made: map[int]bool{}}, nil
}

func (c *clsact) name() string { return "tc" }

func (c *clsact) attach(index int, _ string) error {
	qdisc := clsactQdisc(index)
	switch err := c.handle.QdiscAdd(qdisc); {
	case err == nil:
		c.made[index] = true
	case !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	err := c.handle.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL,
		},
		Fd: c.prog.FD(), Name: c.filter, DirectAction: true,
	})
	if err != nil {
		if c.made[index] {
			_ = c.handle.QdiscDel(qdisc)
			delete(c.made, index)
		}
		return fmt.Errorf("add tc filter: %w", err)
	}
	c.links[index] = true
	return nil
}

func (c *clsact) detach(index int) {
	delete(c.links, index)
	delete(c.made, index)
}

func (c *clsact) close() error {
	var errs []error
	for index := range c.links {
		errs = append(errs, removeFilters(c.handle, index, func(name string) bool { return name == c.filter }, c.made[index]))
	}
	return errors.Join(append(errs, c.program.close())...)
}

func clsactQdisc(index int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// removeFilters removes our filters of the given names from an interface, and
// its clsact qdisc if that is ours (or was made by the owner of a filter that is
// removed) and holds nothing else.
func removeFilters(handle *netlink.Handle, index int, match func(name string) bool, qdisc bool) error {
	dev := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
	filters, err := handle.FilterList(dev, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return nil // no such qdisc, or the interface has gone
	}
	var errs []error
	others := 0
	for _, f := range filters {
		b, ok := f.(*netlink.BpfFilter)
		if !ok || !strings.HasPrefix(b.Name, filterPrefix) || !match(b.Name) {
			others++
			continue
		}
		if err := handle.FilterDel(b); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove tc filter: %w", err))
		}
	}
	if egress, err := handle.FilterList(dev, netlink.HANDLE_MIN_EGRESS); err == nil {
		others += len(egress)
	}
	if qdisc && others == 0 {
		if err := handle.QdiscDel(clsactQdisc(index)); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove clsact qdisc: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeDeadFilters removes the filters of owners that are gone.
func removeDeadFilters(handle *netlink.Handle, dead func(owner string) bool) error {
	found, err := deadFilters(handle, dead)
	errs := []error{err}
	for _, f := range found {
		match := func(name string) bool { return dead(strings.TrimPrefix(name, filterPrefix)) }
		errs = append(errs, removeFilters(handle, f.Attrs().Index, match, true))
	}
	return errors.Join(errs...)
}

// deadFilters are the interfaces with filters of owners that are gone.
func deadFilters(handle *netlink.Handle, dead func(owner string) bool) (found []netlink.Link, err error) {
	links, err := handle.LinkList()
	if err != nil && len(links) == 0 {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		filters, err := handle.FilterList(l, netlink.HANDLE_MIN_INGRESS)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(filters, func(f netlink.Filter) bool {
			b, ok := f.(*netlink.BpfFilter)
			return ok && strings.HasPrefix(b.Name, filterPrefix) && dead(strings.TrimPrefix(b.Name, filterPrefix))
		}) {
			found = append(found, l)
		}
	}
	return found, nil
}
