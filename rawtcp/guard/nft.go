package guard

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nft drops by nftables at the ingress of each interface, in a table of our own
// whose name tells whose it is.
type nft struct {
	conn  *nftables.Conn
	table *nftables.Table
	ports *nftables.Set
}

const tablePrefix = "lightweight-tunnel-"

func newNFT(owner string) (*nft, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nftables netlink socket: %w", err)
	}
	n := &nft{conn: conn}
	n.table = conn.AddTable(&nftables.Table{Name: tablePrefix + owner, Family: nftables.TableFamilyNetdev})
	n.ports = &nftables.Set{Table: n.table, Name: "ports", KeyType: nftables.TypeInetService}
	err = conn.AddSet(n.ports, nil)
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create nft table: %w", err), conn.CloseLasting())
	}
	return n, nil
}

func (n *nft) name() string { return "nft netdev" }

func (n *nft) attach(index int, name string) error {
	first := nftables.ChainPriority(math.MinInt32 + 1)
	chain := n.conn.AddChain(&nftables.Chain{
		Name: chainName(index), Table: n.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookIngress, Priority: &first, Device: name,
	})
	n.conn.AddRule(&nftables.Rule{Table: n.table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.PACKET_HOST}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: n.ports.Name, SetID: n.ports.ID},
		// What is merely forwarded is not ours.
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := n.conn.Flush(); err != nil {
		return fmt.Errorf("add nft chain: %w", err)
	}
	return nil
}

// detach has nothing to do: the kernel removes the chain with the interface.
func (n *nft) detach(int) {}

func chainName(index int) string { return fmt.Sprintf("interface-%d", index) }

func (n *nft) set(ports []uint16) error {
	elements := make([]nftables.SetElement, len(ports))
	for i, port := range ports {
		elements[i].Key = binaryutil.BigEndian.PutUint16(port)
	}
	n.conn.FlushSet(n.ports)
	if len(elements) > 0 {
		if err := n.conn.SetAddElements(n.ports, elements); err != nil {
			return fmt.Errorf("change nft set: %w", err)
		}
	}
	if err := n.conn.Flush(); err != nil { // all of it takes effect at once
		return fmt.Errorf("change nft set: %w", err)
	}
	return nil
}

func (n *nft) local([]localPrefix) error { return nil }

func (n *nft) close() error {
	n.conn.DelTable(n.table)
	err := n.conn.Flush()
	if err != nil {
		err = fmt.Errorf("remove nft table: %w", err)
	}
	return errors.Join(err, n.conn.CloseLasting())
}

// removeDeadTables removes the tables of owners that are gone. A kernel without
// nftables has none.
func removeDeadTables(dead func(owner string) bool) error {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	tables := deadTables(conn, dead)
	if len(tables) == 0 {
		return nil
	}
	for _, t := range tables {
		conn.DelTable(t)
	}
	return conn.Flush()
}

// deadTables are the tables of owners that are gone.
func deadTables(conn *nftables.Conn, dead func(owner string) bool) (all []*nftables.Table) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return nil
	}
	for _, t := range tables {
		if owner, ours := strings.CutPrefix(t.Name, tablePrefix); ours && dead(owner) {
			all = append(all, t)
		}
	}
	return all
}
