// Package routes decides where the mesh's prefixes lead, and tells the pumps and
// the kernel.
//
// [Table] is the pure core: adverts, links, what this node announces itself and
// what its user accepts go in; one [Decision] with its reason comes out for each
// prefix of each node. [FIB] is the immutable snapshot of them that the pumps
// look into for every packet, [Kernel] keeps the host's routing table in step,
// [Forwarding] the sysctls without which a site's LAN cannot be reached, and
// [Actor] joins the parts.
//
// # What is installed
//
// An overlay address of a node is a host entry for that node, whatever its
// prefix length: the subnet is routed to nobody as a whole. Within the subnets
// of this node's own addresses the kernel's connected route suffices; an address outside
// is treated like an announced prefix.
//
// An announced prefix is installed if the user's [Policy] accepts it. These are
// refused unless the policy names exactly that prefix, because they take traffic
// away that worked before:
//
//   - a default route, or one in disguise (shorter than /8, in IPv6 /16);
//   - a prefix that covers the underlay address of a seed or peer;
//   - a prefix that overlaps a network which this host is connected to.
//
// Named, they are installed, and the networks the host is connected to still come first:
// a prefix equal to such a network is refused in any case, and a default route
// goes into the kernel as two halves, so that the host's own default route stays
// where it is and returns by itself. The mesh's own datagrams cannot enter the
// tunnel by this: the transport resolves its next hop without the routes marked
// with [Protocol].
//
// Of several nodes that announce a prefix the best one gets its traffic: one with a link
// before one without, then the one that is nearer, and the present one unless
// another is clearly better. When it goes the next takes over.
package routes
