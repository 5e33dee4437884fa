// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The socket hooks, for processes on the host network: what they dial becomes a backend's address before the kernel
 * chooses a route or builds a packet, and what they are told of their peer is the frontend that they dialled.
 * Read from the end: entry points first. Programs of this object may be preempted, so that they keep nothing in
 * per-CPU memory; those of one socket run one after the other, under its lock.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "socket_calls.bpf.h"
#include "socket_peers.bpf.h"

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint at;
	int result;

	tell_netns(ctx);
	read_endpoint4(ctx, &at);
	result = connect_to(ctx, &at);
	write_endpoint4(ctx, &at);
	return result;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint at;
	int result;

	read_endpoint6(ctx, &at);
	result = connect_to(ctx, &at);
	write_endpoint6(ctx, &at);
	return result;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint at;
	int result;

	read_endpoint4(ctx, &at);
	if (is_own_peer(ctx, &at))
		return CALL_GOES_ON;
	result = send_to(ctx, &at);
	write_endpoint4(ctx, &at);
	return result;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint at;
	int result;

	read_endpoint6(ctx, &at);
	result = send_to(ctx, &at);
	write_endpoint6(ctx, &at);
	return result;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint at;

	read_endpoint4(ctx, &at);
	if (name_peer(ctx, &at))
		write_endpoint4(ctx, &at);
	return CALL_GOES_ON;
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint at;

	read_endpoint6(ctx, &at);
	if (name_peer(ctx, &at))
		write_endpoint6(ctx, &at);
	return CALL_GOES_ON;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct endpoint at;

	read_endpoint4(ctx, &at);
	if (name_peer(ctx, &at))
		write_endpoint4(ctx, &at);
	return CALL_GOES_ON;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct endpoint at;

	read_endpoint6(ctx, &at);
	if (name_peer(ctx, &at))
		write_endpoint6(ctx, &at);
	return CALL_GOES_ON;
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	const struct svclb_socket *socket = bpf_sk_storage_get(&sockets, ctx, 0, 0);
	__u64 cookie = bpf_get_socket_cookie(ctx);

	if (socket && socket->proto == IPPROTO_UDP)
		bpf_map_delete_elem(&connected_peers, &cookie);
	return CALL_GOES_ON;
}

char svclb_license[] SEC("license") = "GPL";
