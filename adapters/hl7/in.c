// SPDX-License-Identifier: Apache-2.0
// The inbound door as a part of the gateway: listening, accepting, who it is, its loop, its end. main's thread opens and closes; the rest is the door's.
#include "adapters/hl7/in.h"

#include "gateway/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, ACCEPTS = 32, TICK_MS = 250 };

// ---- Who it is ----

// Nothing of it is under way.
static bool
rests(const struct gw_hl7_conn *conn)
{
	return conn->state == GW_HL7_SERVED && conn->tickets == 0 && conn->frame_us == 0 && conn->rest == NULL && conn->out.len == 0;
}

// A sender that forgets its connections loses its own, the one that has been quiet for longest; NULL: all of them are busy.
static struct gw_hl7_conn *
quietest_of(const struct gw_hl7_door *door, const struct gw_hl7_peer *peer)
{
	struct gw_hl7_conn *found = NULL;

	for (struct gw_hl7_conn *conn = door->first; conn != NULL; conn = conn->next)
		if (conn->peer == peer && rests(conn) && (found == NULL || conn->heard_us < found->heard_us))
			found = conn;
	return found;
}

// False: it was closed.
static bool
belongs(struct gw_hl7_door *door, struct gw_hl7_conn *conn, const struct gw_hl7_peer *peer)
{
	struct gw_hl7_peer_state *state = &door->states[peer - door->settings.peers];

	if (atomic_load(&state->connections) >= door->settings.connections_of_one) {
		struct gw_hl7_conn *quiet = quietest_of(door, peer);

		gw_hl7_count(&state->beyond_limit, 1);
		gw_diag_limited(&door->said_full, 60, GW_WARNING, "hl7_in.full", "peer=%s: hl7_in.connections_of_one is reached: %s was closed", peer->name,
		    quiet != NULL ? "its quietest connection" : "a new connection");
		gw_hl7_conn_close(quiet != NULL ? quiet : conn);
		if (quiet == NULL)
			return false;
	}
	gw_crowd_leave(&door->strangers, gw_span(&conn->from, sizeof(conn->from)));
	conn->peer = peer;
	conn->counts = state;
	atomic_fetch_add(&state->connections, 1);
	gw_hl7_count(&state->accepted, 1);
	gw_diag(GW_INFO, "hl7_in.connected", "peer=%s from=%s tls=%d", peer->name, conn->where, conn->tls != NULL);
	return true;
}

static const struct sockaddr *
peer_address(const struct gw_hl7_conn *conn, struct sockaddr_storage *from)
{
	socklen_t len = sizeof(*from);

	memset(from, 0, sizeof(*from));
	(void)getpeername(conn->fd, (struct sockaddr *)from, &len); // gone already: no family, nobody's
	return (const struct sockaddr *)from;
}

static void
shaken(struct gw_hl7_door *door, struct gw_hl7_conn *conn)
{
	struct sockaddr_storage from;
	struct gw_tls_identity identity;
	const struct gw_hl7_peer *peer;

	gw_tls_identity(conn->tls, &identity);
	conn->proved = identity.auth == GW_AUTH_CERTIFICATE ? GW_AUTH_CERTIFICATE : GW_AUTH_NONE;
	peer = gw_hl7_peer_find(&door->settings, peer_address(conn, &from), conn->proved == GW_AUTH_CERTIFICATE ? identity.name : "");
	if (peer == NULL) {
		gw_hl7_door_refused(door, conn, conn->proved, conn->proved == GW_AUTH_CERTIFICATE ? GW_REFUSED_PEER_CERTIFICATE : GW_REFUSED_NO_CREDENTIAL,
		    identity.name, conn->proved == GW_AUTH_CERTIFICATE ?
		    "no peer of hl7_in at this address has this certificate" : "the peers of hl7_in at this address have certificates, and it showed none");
		gw_hl7_conn_close(conn);
		return;
	}
	if (!belongs(door, conn, peer))
		return;
	conn->state = GW_HL7_SERVED;
	conn->blocked = false;
	gw_hl7_conn_watch(conn);
	size_t len = gw_hl7_conn_read(conn, false); // what came with the handshake's end
	gw_hl7_serve_bytes(conn, gw_span(door->plain, len));
}

static void
shaking_failed(struct gw_hl7_door *door, struct gw_hl7_conn *conn)
{
	struct gw_tls_identity refused;
	const char *reason = gw_tls_reason(conn->tls, &refused);
	enum gw_refused why = gw_tls_refused(conn->tls);

	gw_hl7_count(&door->handshakes_failed, 1);
	if (why != GW_REFUSED_NONE)
		gw_hl7_door_refused(door, conn, refused.auth, why, refused.name, NULL);
	else
		gw_diag_limited(&door->said_failed, 1, GW_INFO, "hl7_in.handshake", "from=%s: %s", conn->where, reason);
	conn->eof = true; // nothing more is said
	gw_hl7_conn_close(conn);
}

static void
shake(struct gw_hl7_door *door, struct gw_hl7_conn *conn)
{
	enum gw_tls_step step;

	gw_tls_turn(conn->tls, &door->ahead);
	step = gw_tls_handshake(conn->tls);
	if (step == GW_TLS_DONE) {
		shaken(door, conn);
	} else if (step == GW_TLS_WANT_READ || step == GW_TLS_WANT_WRITE) {
		conn->blocked = step == GW_TLS_WANT_WRITE;
		gw_hl7_conn_watch(conn);
	} else {
		shaking_failed(door, conn);
	}
}

// The name of a certificate is somebody's.
static bool
is_subject(void *arg, struct gw_span name)
{
	const struct gw_hl7_in_settings *settings = arg;

	for (size_t i = 0; i < settings->peer_count; i++)
		if (name.len > 0 && gw_span_is(name, settings->peers[i].certificate))
			return true;
	return false;
}

// ---- Accepting ----

static void
name_it(struct gw_hl7_conn *conn, const struct sockaddr_storage *from, socklen_t len)
{
	char host[48], port[8];

	if (getnameinfo((const struct sockaddr *)from, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(conn->where, sizeof(conn->where), "%s:%s", strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host, port);
}

static void
set_socket(int fd)
{
	const int on = 1, idle_s = 60, every_s = 20, times = 3;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)); // a peer that lost its power leaves its place
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
}

static bool
has_place(struct gw_hl7_door *door, uint64_t from)
{
	if (atomic_load(&door->connections) < door->settings.connections_max &&
	    gw_crowd_count(&door->strangers, gw_span(&from, sizeof(from))) < door->settings.connections_of_one)
		return true;
	gw_hl7_count(&door->full, 1);
	gw_diag_limited(&door->said_full, 60, GW_WARNING, "hl7_in.full", "hl7_in.connections_max or connections_of_one is reached: a connection was closed");
	return false;
}

static void
welcome(struct gw_hl7_door *door, int fd, const struct sockaddr_storage *from, socklen_t len, bool tls)
{
	struct epoll_event event = { .events = EPOLLIN };
	uint64_t address = gw_crowd_address((const struct sockaddr *)from);
	const struct gw_hl7_peer *peer = tls ? NULL : gw_hl7_peer_find(&door->settings, (const struct sockaddr *)from, "");
	struct gw_hl7_conn *conn;

	if (!gw_hl7_peer_expected(&door->settings, (const struct sockaddr *)from, tls)) {
		const struct gw_hl7_conn stranger = { .at = gw_peer_of((const struct sockaddr *)from), .by_tls = tls };

		gw_hl7_door_refused(door, &stranger, GW_AUTH_NONE, GW_REFUSED_PEER_ADDRESS, "", "no peer of hl7_in is at this address");
		close(fd);
		return;
	}
	if (!has_place(door, address)) {
		close(fd);
		return;
	}
	set_socket(fd);
	if (gw_crowd_join(&door->strangers, gw_span(&address, sizeof(address))) != GW_OK) {
		close(fd);
		return;
	}
	if ((conn = gw_hl7_conn_new(door, fd, tls)) == NULL) {
		gw_crowd_leave(&door->strangers, gw_span(&address, sizeof(address)));
		return;
	}
	conn->from = address;
	conn->at = gw_peer_of((const struct sockaddr *)from);
	conn->by_tls = tls;
	name_it(conn, from, len);
	event.data.ptr = conn;
	if (epoll_ctl(door->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		gw_hl7_conn_close(conn);
	else if (peer != NULL)
		(void)belongs(door, conn, peer);
}

static void
listen_on(struct gw_hl7_door *door, int listener, void *who, bool on)
{
	struct epoll_event event = { .events = on ? EPOLLIN : 0, .data.ptr = who };

	if (listener >= 0)
		(void)epoll_ctl(door->epoll, EPOLL_CTL_MOD, listener, &event);
}

static void
listen_again(struct gw_hl7_door *door, bool on)
{
	if (door->listening == on)
		return;
	listen_on(door, door->listener, &door->listener, on);
	listen_on(door, door->tls_listener, &door->tls_listener, on);
	door->listening = on;
}

static void
accept_some(struct gw_hl7_door *door, int listener, bool tls)
{
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			welcome(door, fd, &from, len, tls);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			gw_diag_limited(&door->said_files, 60, GW_WARNING, "hl7_in.accept", "%s: raise the limit of open files", strerror(errno));
			listen_again(door, false); // until the next tick
		}
		return;
	}
}

// ---- The loop ----

// It was told that the other side is gone for good. What came before is taken all the same.
static void
hung_up(struct gw_hl7_conn *conn)
{
	conn->eof = true;
	(void)epoll_ctl(conn->door->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
	if (conn->out.len > 0)
		gw_hl7_conn_close(conn);
	else
		gw_hl7_serve_eof(conn);
}

static void
readable(struct gw_hl7_door *door, struct gw_hl7_conn *conn)
{
	size_t len = gw_hl7_conn_read(conn, true);

	if (len > 0)
		conn->heard_us = door->now_us;
	gw_hl7_serve_bytes(conn, gw_span(door->plain, len));
	if (conn->state == GW_HL7_SERVED && conn->eof)
		gw_hl7_conn_watch(conn);
}

static void
on_event(struct gw_hl7_door *door, struct gw_hl7_conn *conn, uint32_t events)
{
	if (conn->state == GW_HL7_CLOSED)
		return;
	if (conn->state == GW_HL7_SHAKING) {
		shake(door, conn);
		return;
	}
	if (conn->blocked && (events & EPOLLOUT) != 0 && !gw_hl7_conn_flush(conn)) {
		gw_hl7_conn_close(conn);
		return;
	}
	if (conn->eof || conn->stalled || (conn->blocked && conn->tls != NULL)) {
		if ((events & (EPOLLHUP | EPOLLERR)) != 0)
			hung_up(conn);
		return;
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		readable(door, conn);
}

static void
dispatch(struct gw_hl7_door *door, const struct epoll_event *events, int count)
{
	uint64_t ignored;

	for (int i = 0; i < count; i++) {
		void *who = events[i].data.ptr;

		if (who == &door->listener)
			accept_some(door, door->listener, false);
		else if (who == &door->tls_listener)
			accept_some(door, door->tls_listener, true);
		else if (who == &door->wake_fd)
			(void)!read(door->wake_fd, &ignored, sizeof(ignored));
		else if (who != &door->source)
			on_event(door, who, events[i].events);
	}
}

// Why its time is up; NULL: it is not.
static const char *
overdue(const struct gw_hl7_door *door, const struct gw_hl7_conn *conn)
{
	const struct gw_hl7_in_settings *settings = &door->settings;

	if (conn->state == GW_HL7_SHAKING)
		return door->now_us - conn->began_us > settings->handshake_us ? "its handshake took longer than hl7_in.handshake_s_max" : NULL;
	if (conn->frame_us != 0 && !conn->stalled && door->now_us - conn->frame_us > settings->message_us)
		return "its message took longer than hl7_in.message_s_max";
	if (settings->idle_us != 0 && conn->tickets == 0 && !conn->stalled && door->now_us - conn->heard_us > settings->idle_us)
		return "nothing came for hl7_in.idle_s_max";
	return NULL;
}

// Why a peer that was let in may not stay.
static enum gw_refused
lapsed(const struct gw_hl7_conn *conn, int64_t now_s)
{
	return conn->tls != NULL && conn->state == GW_HL7_SERVED ? gw_tls_lapsed(conn->tls, now_s) : GW_REFUSED_NONE;
}

static void
tick(struct gw_hl7_door *door)
{
	int64_t now_s = gw_clock_wall_us() / 1000000;
	struct gw_hl7_conn *conn, *next;
	enum gw_refused why;
	const char *words;

	if (door->now_us < door->tick_us)
		return;
	door->tick_us = door->now_us + TICK_MS * 1000;
	listen_again(door, true);
	for (conn = door->first; conn != NULL; conn = next) {
		next = conn->next;
		if ((why = lapsed(conn, now_s)) != GW_REFUSED_NONE) {
			gw_hl7_door_refused(door, conn, GW_AUTH_CERTIFICATE, why, conn->peer->certificate, NULL);
			gw_hl7_conn_close(conn);
			continue;
		}
		if ((words = overdue(door, conn)) == NULL)
			continue;
		gw_diag_limited(&door->said_failed, 1, GW_INFO, "hl7_in.closed", "peer=%s from=%s: %s", conn->peer != NULL ? conn->peer->name : "", conn->where, words);
		gw_hl7_conn_close(conn);
	}
}

static void
bury(struct gw_hl7_door *door)
{
	struct gw_hl7_conn *conn;

	while ((conn = door->dead) != NULL) {
		door->dead = conn->dirty_next;
		gw_hl7_conn_free(conn);
	}
}

static void
one_round(struct gw_hl7_door *door, const struct epoll_event *events, int count)
{
	door->now_us = gw_clock_mono_us();
	gw_hl7_count(&door->rounds, 1);
	dispatch(door, events, count);
	gw_hl7_serve_submit(door);
	gw_hl7_serve_tickets(door);
	if (door->waiting != NULL) {
		gw_hl7_serve_waiting(door);
		gw_hl7_serve_submit(door);
	}
	gw_hl7_serve_flush(door);
	tick(door);
	bury(door);
}

// No more is read; what is under way is answered.
static void
end_orderly(struct gw_hl7_door *door)
{
	struct pollfd wait = { .fd = door->source.event_fd, .events = POLLIN };

	while (door->under_way > 0) {
		(void)poll(&wait, 1, TICK_MS);
		gw_hl7_serve_tickets(door);
		gw_hl7_serve_flush(door);
	}
	while (door->first != NULL)
		gw_hl7_conn_close(door->first);
	gw_hl7_serve_flush(door);
	bury(door);
}

static void *
run(void *arg)
{
	struct gw_hl7_door *door = arg;
	struct epoll_event events[EVENTS];

	while (!atomic_load(&door->stopping)) {
		int count = epoll_wait(door->epoll, events, EVENTS, TICK_MS);

		one_round(door, events, count);
	}
	end_orderly(door);
	return NULL;
}

// ---- Listening ----

static int
bind_one(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0, error;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, 128) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static enum gw_error
listen_at(const char *address, uint16_t port, const char *option, int *fd, struct gw_why *why)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found = NULL;
	char service[8];

	if (port == 0)
		return GW_OK;
	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(address, service, &hints, &found) != 0)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.address: %s is not an IP address", address);
	*fd = bind_one(found);
	freeaddrinfo(found);
	if (*fd < 0 && strcmp(address, "::") == 0) // a machine without IPv6
		return listen_at("0.0.0.0", port, option, fd, why);
	if (*fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot listen there: %s (hl7_in.address %s, hl7_in.%s %s)", strerror(errno), address, option, service);
	gw_diag(GW_NOTICE, "hl7_in.listening", "address=%s %s=%s", address, option, service);
	return GW_OK;
}

static bool
watch(struct gw_hl7_door *door, int fd, void *who)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = who };

	return fd < 0 || epoll_ctl(door->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

// ---- The part ----

static bool
enabled(const struct gw_config *config)
{
	return config->hl7_in_enabled;
}

// Rules for names of devices are no rules for peers.
static void
trust_options(const struct gw_config *config, struct gw_trust_options *options)
{
	gw_trust_configured(config, options);
	options->identities = NULL;
	if (config->hl7_in_ca[0] != '\0')
		options->ca = config->hl7_in_ca;
}

static enum gw_error
check_trust(const struct gw_config *config, struct gw_why *why)
{
	struct gw_trust_options options;
	struct gw_trust *trust;
	enum gw_error error;

	if (config->hl7_in_tls_port == 0 || config->tls_certificate[0] == '\0') // its own are made when it starts
		return GW_OK;
	trust_options(config, &options);
	options.expired_accepted = true;
	error = gw_trust_load(&options, &trust, why);
	gw_trust_drop(trust);
	return error;
}

static enum gw_error
check(const struct gw_config *config, struct gw_why *why)
{
	struct gw_hl7_in_settings settings;
	enum gw_error error;

	if (!config->hl7_in_enabled)
		return GW_OK; // what is not there yet need not be complete
	if ((error = gw_hl7_in_settings_make(config, &settings, why)) != GW_OK)
		return error;
	gw_hl7_in_settings_fini(&settings);
	return check_trust(config, why);
}

static void
files(const struct gw_config *config, gw_file_fn *fn, void *arg)
{
	struct gw_trust_options options;

	if (config->hl7_in_tls_port == 0)
		return;
	trust_options(config, &options);
	gw_trust_files(&options, fn, arg);
}

static enum gw_error
renew(void *part, struct gw_why *why)
{
	struct gw_hl7_door *door = part;
	struct gw_trust_options options;

	if (door->tls == NULL)
		return GW_OK;
	trust_options(door->core->config, &options);
	return gw_tls_server_renew(door->tls, &options, why);
}

static enum gw_error
open_tls(struct gw_hl7_door *door, struct gw_why *why)
{
	struct gw_tls_options options = { .only_1_3 = strcmp(door->core->config->tls_version_min, "1.3") == 0, .subject = is_subject, .arg = &door->settings };
	struct gw_why words = { "" };
	enum gw_error error;

	if (door->settings.tls_port == 0)
		return GW_OK;
	trust_options(door->core->config, &options.trust);
	options.trust.expired_accepted = true; // better than no connection: whether it will do is for those who connect to say
	if ((error = gw_tls_server_open(&options, &door->tls, &words)) != GW_OK)
		return gw_fail(why, error, "%s", words.text);
	if (words.text[0] != '\0')
		gw_diag(GW_WARNING, "hl7_in.credentials", "%s", words.text);
	return GW_OK;
}

static enum gw_error
open_sockets(struct gw_hl7_door *door, struct gw_why *why)
{
	const struct gw_hl7_in_settings *settings = &door->settings;
	enum gw_error error;

	door->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	door->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (door->wake_fd < 0 || door->epoll < 0)
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	if ((error = listen_at(settings->address, settings->port, "port", &door->listener, why)) != GW_OK ||
	    (error = listen_at(settings->address, settings->tls_port, "tls_port", &door->tls_listener, why)) != GW_OK)
		return error;
	door->listening = true;
	if (!watch(door, door->listener, &door->listener) || !watch(door, door->tls_listener, &door->tls_listener) ||
	    !watch(door, door->wake_fd, &door->wake_fd) || !watch(door, door->source.event_fd, &door->source))
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	return GW_OK;
}

static enum gw_error
open_take(struct gw_hl7_door *door, struct gw_why *why)
{
	const struct gw_hl7_in_settings *settings = &door->settings;
	struct gw_core *core = door->core;
	struct gw_hl7_take_options options = { .registry = core->registry, .patients = core->patients, .settings = settings };
	enum gw_error error = gw_hl7_seen_open(core->journal, settings->remember_max, settings->remember_us, &door->seen, why);

	if (error != GW_OK)
		return error;
	options.seen = door->seen;
	door->take = gw_hl7_take_new(&options);
	door->states = calloc(settings->peer_count, sizeof(*door->states));
	door->ahead = (struct gw_tls_ahead){ .buf = malloc(GW_HL7_READ_BYTES), .cap = GW_HL7_READ_BYTES };
	door->plain = malloc(GW_HL7_PLAIN_BYTES);
	if (door->take == NULL || door->states == NULL || door->ahead.buf == NULL || door->plain == NULL ||
	    !gw_crowd_init(&door->strangers, settings->connections_max))
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = gw_source_init(&door->source, core->intake, settings->pending_max)) != GW_OK)
		return gw_fail(why, error, "%s", gw_error_text(error));
	return GW_OK;
}

static void
close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void
close_part(void *part)
{
	struct gw_hl7_door *door = part;
	struct gw_hl7_request *request;

	if (door->running)
		pthread_join(door->thread, NULL);
	if (door->source.intake != NULL)
		gw_source_fini(&door->source);
	close_fd(door->listener);
	close_fd(door->tls_listener);
	close_fd(door->wake_fd);
	close_fd(door->epoll);
	while ((request = door->spare) != NULL) {
		door->spare = request->next;
		gw_hl7_request_fini(request);
		free(request);
	}
	gw_hl7_take_free(door->take);
	gw_hl7_seen_close(door->seen);
	gw_tls_server_close(door->tls);
	gw_crowd_fini(&door->strangers);
	gw_hl7_in_settings_fini(&door->settings);
	free(door->states);
	free(door->ahead.buf);
	free(door->plain);
	pthread_mutex_destroy(&door->lock);
	free(door);
}

static enum gw_error
start_thread(struct gw_hl7_door *door, struct gw_why *why)
{
	int rc = pthread_create(&door->thread, NULL, run, door);

	if (rc != 0)
		return gw_fail(why, GW_E_SYSTEM, "no thread: %s", strerror(rc));
	pthread_setname_np(door->thread, "vg-hl7-in");
	door->running = true;
	return GW_OK;
}

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct gw_hl7_door *door = calloc(1, sizeof(*door));
	enum gw_error error;

	*part = NULL;
	if (door == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	door->core = core;
	pthread_mutex_init(&door->lock, NULL);
	door->epoll = door->wake_fd = door->listener = door->tls_listener = -1;
	door->batch_end = &door->batch;
	door->waiting_end = &door->waiting;
	gw_refusals_limit(core->refusals, GW_DOOR_HL7, (uint32_t)core->config->hl7_in_refusal_records_per_min);
	if ((error = gw_hl7_in_settings_make(core->config, &door->settings, why)) != GW_OK || (error = open_take(door, why)) != GW_OK ||
	    (error = open_tls(door, why)) != GW_OK || (error = open_sockets(door, why)) != GW_OK || (error = start_thread(door, why)) != GW_OK) {
		close_part(door);
		return error;
	}
	*part = door;
	return GW_OK;
}

static void
stop(void *part)
{
	struct gw_hl7_door *door = part;
	uint64_t one = 1;

	atomic_store(&door->stopping, true);
	(void)!write(door->wake_fd, &one, sizeof(one));
}

const struct gw_part gw_hl7_in_part = {
	.name = "hl7_in",
	.enabled = enabled,
	.sections = (const char *const[]){ "hl7_in", NULL },
	.check = check,
	.start = start,
	.stop = stop,
	.close = close_part,
	.status = gw_hl7_door_status,
	.command = gw_hl7_door_command,
	.files = files,
	.renew = renew,
};
