// SPDX-License-Identifier: Apache-2.0
// The door: accepts, shakes hands, admits, and hands over. One thread for all of it, so that TLS 1.3 handshakes stay on one (passwords
// have theirs: password.c). Also its work: wills that are due, sessions that have expired, refusals that are recorded.
//
// Strangers can fill it only up to mqtt.handshakes_max; beyond, the oldest goes that has not said a word yet, or else the oldest. One address can
// do so only up to mqtt.handshakes_of_one: beyond, the same among its own. Handshakes of an address from which many failed of late begin one after the
// other (gateway/guard.h).
#include "adapters/mqtt/door.h"

#include "gateway/clock.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, ACCEPTS = 64, TICK_MS = 250, TURN_MS = 4, TICKETS = 64, EXPIRE_MOST = 64 };

// ---- Lists ----

static struct gw_mqtt_list *
list_of(struct gw_mqtt_door *door, const struct gw_mqtt_conn *conn)
{
	return conn->slowed ? &door->slowed : conn->talked ? &door->talking : &door->silent;
}

static void
append(struct gw_mqtt_list *list, struct gw_mqtt_conn *conn)
{
	conn->prev = list->last;
	conn->next = NULL;
	if (list->last != NULL)
		list->last->next = conn;
	else
		list->first = conn;
	list->last = conn;
	list->count++;
}

static void
take_out(struct gw_mqtt_list *list, struct gw_mqtt_conn *conn)
{
	if (conn->prev != NULL)
		conn->prev->next = conn->next;
	else
		list->first = conn->next;
	if (conn->next != NULL)
		conn->next->prev = conn->prev;
	else
		list->last = conn->prev;
	conn->prev = conn->next = NULL;
	list->count--;
}

// For good, or for a serving thread.
static void
leave(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	take_out(list_of(door, conn), conn);
	gw_crowd_leave(&door->addresses, gw_span(&conn->from, sizeof(conn->from)));
}

static void
drop(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	if (conn->abandoned)
		return;
	leave(door, conn);
	if (conn->state == GW_MQTT_CHECKING) { // freed when its password is checked
		gw_mqtt_passwords_abandon(door->passwords, conn);
		(void)epoll_ctl(door->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
		return;
	}
	gw_mqtt_conn_shut(conn);
	conn->inbox_next = door->dead;
	door->dead = conn;
}

static void
bury(struct gw_mqtt_door *door)
{
	struct gw_mqtt_conn *conn;

	while ((conn = door->dead) != NULL) {
		door->dead = conn->inbox_next;
		gw_mqtt_conn_free(conn);
	}
}

static void
take_tickets(struct gw_mqtt_door *door)
{
	struct gw_ticket *ticket = gw_source_take(&door->source), *next;

	for (; ticket != NULL; ticket = next) {
		next = ticket->next;
		gw_ticket_release(ticket);
	}
}

// ---- Admission ----

static bool
ask_password(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	conn->state = GW_MQTT_CHECKING;
	conn->stalled = true;
	gw_mqtt_conn_watch(conn);
	return gw_mqtt_passwords_ask(door->passwords, conn);
}

static void
say_refused(struct gw_mqtt_conn *conn, const struct gw_mqtt_refusal *refusal)
{
	struct gw_mqtt_connack answer = { .reason = refusal->reason };
	uint8_t packet[64];

	if (refusal->version == 0)
		return;
	gw_mqtt_conn_write(conn, packet, gw_mqtt_write_connack(refusal->version, &answer, packet, sizeof(packet)));
	(void)gw_mqtt_conn_flush(conn);
}

static void
hand_over(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	struct gw_mqtt *mqtt = door->mqtt;
	struct gw_mqtt_worker *least = &mqtt->workers[0];

	leave(door, conn);
	(void)epoll_ctl(door->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
	conn->stalled = false;
	for (unsigned i = 1; i < mqtt->worker_count; i++)
		if (atomic_load(&mqtt->workers[i].load) < atomic_load(&least->load))
			least = &mqtt->workers[i];
	gw_mqtt_add(&mqtt->door_counts.admitted, 1);
	gw_mqtt_worker_give(least, conn);
}

// What was tried: it may not have been proved.
static uint8_t
auth_of(const struct gw_mqtt_conn *conn, enum gw_refused why)
{
	if (why == GW_REFUSED_USER_UNKNOWN || why == GW_REFUSED_PASSWORD_WRONG)
		return GW_AUTH_PASSWORD;
	return why == GW_REFUSED_PSK_UNKNOWN ? GW_AUTH_PSK : conn->auth;
}

static void
admit(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	struct gw_mqtt_door_counts *counts = &door->mqtt->door_counts;
	struct gw_mqtt_refusal refusal;

	switch (gw_mqtt_admit(conn, &refusal)) {
	case GW_MQTT_ADMITTED:
		hand_over(door, conn);
		return;
	case GW_MQTT_INCOMPLETE:
		if (conn->eof)
			drop(door, conn);
		return;
	case GW_MQTT_CHECK_PASSWORD:
		if (ask_password(door, conn))
			return;
		conn->state = GW_MQTT_WAITS_CONNECT;
		refusal.reason = GW_MQTT_BUSY;
		say_refused(conn, &refusal);
		drop(door, conn);
		return;
	case GW_MQTT_SESSION_BUSY:
		conn->state = GW_MQTT_WAITING;
		conn->stalled = true;
		gw_mqtt_conn_watch(conn);
		return;
	case GW_MQTT_REFUSED:
		if (refusal.error != GW_OK && refusal.error != GW_E_QUOTA)
			gw_guard_failed(&door->guard, conn->from, door->now_us);
		gw_mqtt_add(refusal.error == GW_E_QUOTA ? &counts->crowded : &counts->refused, refusal.error != GW_OK);
		if (refusal.error != GW_OK)
			gw_mqtt_record_refusal(door, conn, auth_of(conn, refusal.why), refusal.why, refusal.name, refusal.device);
		else
			gw_diag_limited(&door->said_refused, 1, GW_INFO, "mqtt.refused", "peer=%s reason=0x%02x", conn->peer, refusal.reason);
		say_refused(conn, &refusal);
		drop(door, conn);
		return;
	}
}

static void
take_connect(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	bool kept = gw_mqtt_conn_keep(conn, door->io.plain, door->io.plain_len);

	explicit_bzero(door->io.plain, door->io.plain_len); // a password, maybe
	if (kept)
		admit(door, conn);
	else
		drop(door, conn);
}

static void
read_connect(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	(void)gw_mqtt_conn_read(conn);
	take_connect(door, conn);
}

// ---- Handshakes ----

static void
shaking_failed(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	struct gw_tls_identity refused;
	const char *reason = gw_tls_reason(conn->tls, &refused);
	enum gw_refused why = gw_tls_refused(conn->tls);

	if (conn->talked || why != GW_REFUSED_NONE) // who only knocks costs nothing: health checks do
		gw_guard_failed(&door->guard, conn->from, door->now_us);
	gw_mqtt_add(&door->mqtt->door_counts.handshakes_failed, 1);
	gw_mqtt_add(&door->mqtt->door_counts.refused, why != GW_REFUSED_NONE);
	if (why != GW_REFUSED_NONE)
		gw_mqtt_record_refusal(door, conn, refused.auth, why, refused.name, "");
	else
		gw_diag_limited(&door->said_failed, 1, GW_INFO, "mqtt.handshake", "peer=%s: %s", conn->peer, reason);
	drop(door, conn);
}

static void
start_talking(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	if (conn->talked)
		return;
	take_out(&door->silent, conn);
	conn->talked = true;
	append(&door->talking, conn);
}

static void
shake(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	gw_tls_turn(conn->tls, &door->io.ahead);
	switch (gw_tls_handshake(conn->tls)) {
	case GW_TLS_DONE:
		start_talking(door, conn);
		conn->state = GW_MQTT_WAITS_CONNECT;
		conn->blocked = false;
		gw_mqtt_conn_watch(conn);
		gw_mqtt_add(&door->mqtt->door_counts.handshakes, 1);
		(void)gw_mqtt_conn_read_on(conn); // it may have come with the handshake's end
		take_connect(door, conn);
		return;
	case GW_TLS_WANT_READ:
		start_talking(door, conn);
		conn->blocked = false;
		gw_mqtt_conn_watch(conn);
		return;
	case GW_TLS_WANT_WRITE:
		start_talking(door, conn);
		conn->blocked = true;
		gw_mqtt_conn_watch(conn);
		return;
	default:
		shaking_failed(door, conn);
		return;
	}
}

static void
on_event(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	if (conn->fd < 0 || conn->abandoned)
		return;
	if (conn->state == GW_MQTT_SHAKING)
		shake(door, conn);
	else if (conn->state == GW_MQTT_WAITS_CONNECT)
		read_connect(door, conn);
	else if (conn->state != GW_MQTT_SERVED)
		drop(door, conn); // nothing but errors is told then
}

// ---- Accepting ----

static struct gw_mqtt_conn *
oldest_from(const struct gw_mqtt_list *list, uint64_t from)
{
	struct gw_mqtt_conn *conn = list->first;

	while (conn != NULL && conn->from != from)
		conn = conn->next;
	return conn;
}

// False: there is none for this one. Who stands in its address's queue keeps the place: a flood finds it full, and whoever is in it gets its turn.
static bool
make_room_of_address(struct gw_mqtt_door *door, uint64_t from)
{
	struct gw_mqtt_conn *conn;

	if (gw_crowd_count(&door->addresses, gw_span(&from, sizeof(from))) < door->mqtt->handshakes_of_one)
		return true;
	gw_mqtt_add(&door->mqtt->door_counts.crowd_dropped, 1);
	if (oldest_from(&door->slowed, from) != NULL)
		return false;
	conn = oldest_from(&door->silent, from);
	drop(door, conn != NULL ? conn : oldest_from(&door->talking, from));
	return true;
}

static unsigned
pending(const struct gw_mqtt_door *door)
{
	return door->slowed.count + door->silent.count + door->talking.count;
}

static void
make_room(struct gw_mqtt_door *door)
{
	if (pending(door) < door->mqtt->handshakes_max)
		return;
	gw_mqtt_add(&door->mqtt->door_counts.dropped, 1);
	drop(door, door->slowed.last != NULL ? door->slowed.last : door->silent.first != NULL ? door->silent.first : door->talking.first);
}

static void
name_peer(struct gw_mqtt_conn *conn, const struct sockaddr_storage *from, socklen_t len)
{
	char host[48], port[8];

	if (getnameinfo((const struct sockaddr *)from, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	snprintf(conn->peer, sizeof(conn->peer), "%s:%s", strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host, port);
}

// The handshake begins.
static void
begin(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };

	conn->began_us = door->now_us;
	conn->began_wall_us = gw_clock_wall_us();
	conn->began_generation = gw_registry_generation(door->mqtt->core->registry);
	conn->events = EPOLLIN;
	append(list_of(door, conn), conn);
	if (epoll_ctl(door->epoll, EPOLL_CTL_ADD, conn->fd, &event) != 0)
		drop(door, conn);
}

// Those whose turn has come, in the order in which they came. An address that waits holds up no other.
static void
begin_slowed(struct gw_mqtt_door *door)
{
	struct gw_mqtt_conn *conn = door->slowed.first, *next;

	for (; conn != NULL; conn = next) {
		next = conn->next;
		if (gw_guard_wait_us(&door->guard, conn->from, door->now_us) > 0)
			continue;
		take_out(&door->slowed, conn);
		conn->slowed = false;
		begin(door, conn);
	}
}

static void
wait_for_turn(struct gw_mqtt_door *door, struct gw_mqtt_conn *conn)
{
	conn->slowed = true;
	conn->began_us = door->now_us;
	gw_mqtt_add(&door->mqtt->door_counts.slowed, 1);
	append(&door->slowed, conn);
}

static void
welcome(struct gw_mqtt_door *door, int fd, const struct sockaddr_storage *from, socklen_t len)
{
	uint64_t address = gw_crowd_address((const struct sockaddr *)from);
	struct gw_mqtt_conn *conn;

	gw_mqtt_add(&door->mqtt->door_counts.accepted, 1);
	if (atomic_load(&door->mqtt->connections) >= door->mqtt->connections_max) {
		gw_mqtt_add(&door->mqtt->door_counts.full, 1);
		gw_diag_limited(&door->said_full, 60, GW_WARNING, "mqtt.full", "mqtt.connections_max is reached: a connection was closed");
		close(fd);
		return;
	}
	if (!make_room_of_address(door, address)) {
		close(fd);
		return;
	}
	make_room(door);
	conn = gw_mqtt_conn_new(door->mqtt, &door->io, door->epoll, fd);
	if (conn == NULL) {
		close(fd);
		return;
	}
	conn->from = address;
	if (gw_crowd_join(&door->addresses, gw_span(&conn->from, sizeof(conn->from))) != GW_OK) {
		gw_mqtt_conn_free(conn);
		return;
	}
	conn->at = gw_peer_of((const struct sockaddr *)from);
	name_peer(conn, from, len);
	if (oldest_from(&door->slowed, address) != NULL || gw_guard_wait_us(&door->guard, address, door->now_us) > 0)
		wait_for_turn(door, conn);
	else
		begin(door, conn);
}

static void
listen_again(struct gw_mqtt_door *door, bool on)
{
	struct epoll_event event = { .events = on ? EPOLLIN : 0, .data.ptr = door };

	if (door->listening != on && epoll_ctl(door->epoll, EPOLL_CTL_MOD, door->listener, &event) == 0)
		door->listening = on;
}

static void
accept_some(struct gw_mqtt_door *door)
{
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd = accept4(door->listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			welcome(door, fd, &from, len);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			gw_diag_limited(&door->said_files, 60, GW_WARNING, "mqtt.accept", "%s: raise the limit of open files", strerror(errno));
			listen_again(door, false); // until the next tick
		}
		return;
	}
}

// ---- The loop ----

static void
take_checked(struct gw_mqtt_door *door)
{
	struct gw_mqtt_conn *conn, *list = gw_mqtt_passwords_take(door->passwords);

	while ((conn = list) != NULL) {
		list = conn->inbox_next;
		conn->state = GW_MQTT_WAITS_CONNECT;
		if (conn->abandoned) {
			conn->inbox_next = door->dead;
			door->dead = conn;
			continue;
		}
		conn->stalled = false;
		gw_mqtt_conn_watch(conn);
		admit(door, conn);
	}
}

// Their sessions may be free by now. Of several that want the same one the youngest has it in the end: each takes it from the one before.
static void
try_waiting(struct gw_mqtt_door *door)
{
	struct gw_mqtt_conn *conn = door->talking.first, *next;

	for (; conn != NULL; conn = next) {
		next = conn->next;
		if (conn->state == GW_MQTT_WAITING)
			admit(door, conn);
	}
}

static void
drop_slow(struct gw_mqtt_door *door, struct gw_mqtt_list *list)
{
	int64_t before = door->now_us - door->mqtt->admit_s_max * INT64_C(1000000);

	while (list->first != NULL && list->first->began_us < before) {
		gw_mqtt_add(&door->mqtt->door_counts.dropped, 1);
		drop(door, list->first);
	}
}

static void
expire_sessions(struct gw_mqtt_door *door)
{
	struct gw_ticket *ticket = gw_ticket_get(&door->source);

	if (ticket == NULL)
		return;
	ticket->essential = true;
	(void)gw_mqtt_sessions_expire(door->mqtt->sessions, gw_clock_wall_us(), ticket, EXPIRE_MOST);
	if (ticket->ops_len > 0)
		gw_intake_submit(ticket);
	else
		gw_ticket_release(ticket);
}

static void
tick(struct gw_mqtt_door *door)
{
	if (door->now_us < door->tick_us)
		return;
	door->tick_us = door->now_us + TICK_MS * 1000;
	listen_again(door, true);
	drop_slow(door, &door->slowed);
	drop_slow(door, &door->silent);
	drop_slow(door, &door->talking);
	gw_mqtt_record_wills(door);
	expire_sessions(door);
}

static void
dispatch(struct gw_mqtt_door *door, const struct epoll_event *events, int count)
{
	uint64_t ignored;
	bool woken = false;

	for (int i = 0; i < count; i++) {
		void *who = events[i].data.ptr;

		if (who == door)
			accept_some(door);
		else if (who == door->mqtt)
			woken = true;
		else if (who != &door->source)
			on_event(door, who);
	}
	if (woken) { // last: a connection that is handed over here may have had an event of its own in this round
		(void)!read(door->mqtt->door_fd, &ignored, sizeof(ignored));
		take_checked(door);
		try_waiting(door);
		gw_mqtt_record_wills(door);
	}
	take_tickets(door);
}

static void
close_door(struct gw_mqtt_door *door)
{
	struct gw_mqtt_conn *conn, *list;

	gw_mqtt_passwords_stop(door->passwords);
	list = gw_mqtt_passwords_take(door->passwords);
	while ((conn = list) != NULL) {
		list = conn->inbox_next;
		conn->state = GW_MQTT_WAITS_CONNECT;
		if (conn->abandoned) {
			conn->inbox_next = door->dead;
			door->dead = conn;
		}
	}
	while (door->slowed.first != NULL)
		drop(door, door->slowed.first);
	while (door->silent.first != NULL)
		drop(door, door->silent.first);
	while (door->talking.first != NULL)
		drop(door, door->talking.first);
	bury(door);
}

static void
wait_for_tickets(struct gw_mqtt_door *door)
{
	for (;;) {
		uint32_t home = 0;

		take_tickets(door);
		for (const struct gw_ticket *ticket = door->source.free; ticket != NULL; ticket = ticket->next)
			home++;
		if (home == door->source.tickets)
			return;
		usleep(2000);
	}
}

static void *
run(void *arg)
{
	struct gw_mqtt_door *door = arg;
	struct gw_mqtt *mqtt = door->mqtt;
	struct epoll_event events[EVENTS];

	while (!atomic_load(&mqtt->stopping)) {
		int count = epoll_wait(door->epoll, events, EVENTS, door->slowed.first != NULL ? TURN_MS : TICK_MS);

		door->now_us = gw_clock_mono_us();
		dispatch(door, events, count);
		begin_slowed(door);
		tick(door);
		bury(door);
		atomic_store_explicit(&mqtt->door_counts.pending, pending(door), memory_order_relaxed);
	}
	close_door(door);
	wait_for_tickets(door);
	atomic_store_explicit(&mqtt->door_closed, true, memory_order_release);
	for (unsigned i = 0; i < mqtt->worker_count; i++)
		gw_mqtt_worker_wake(&mqtt->workers[i]);
	return NULL;
}

// ---- Start and end ----

static bool
watch(struct gw_mqtt_door *door, int fd, void *who)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = who };

	return epoll_ctl(door->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static enum gw_error
open_door(struct gw_mqtt_door *door, struct gw_why *why)
{
	struct gw_mqtt *mqtt = door->mqtt;
	const struct gw_config *config = mqtt->core->config;
	enum gw_error error;

	gw_refusals_limit(mqtt->core->refusals, GW_DOOR_MQTT, mqtt->refusal_records_per_min);
	door->guard.free = (uint32_t)config->mqtt_failures_free;
	door->guard.slowed_per_s = (uint32_t)config->mqtt_slowed_per_s;
	if (!gw_mqtt_io_init(&door->io, mqtt->limits.packet_bytes_max) || !gw_crowd_init(&door->addresses, mqtt->handshakes_max))
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	error = gw_source_init(&door->source, mqtt->core->intake, TICKETS);
	if (error != GW_OK)
		return gw_fail(why, error, "%s", strerror(errno));
	door->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (door->epoll < 0)
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	error = gw_mqtt_listen(config->mqtt_address, config->mqtt_port, &door->listener, why);
	if (error != GW_OK)
		return error;
	door->listening = true;
	if (!watch(door, door->listener, door) || !watch(door, mqtt->door_fd, mqtt) || !watch(door, door->source.event_fd, &door->source))
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	return GW_OK;
}

static void
free_door(struct gw_mqtt_door *door)
{
	if (door->source.intake != NULL)
		gw_source_fini(&door->source);
	if (door->listener >= 0)
		close(door->listener);
	if (door->epoll >= 0)
		close(door->epoll);
	gw_mqtt_io_fini(&door->io);
	gw_crowd_fini(&door->addresses);
	gw_mqtt_passwords_close(door->passwords);
	free(door);
}

static enum gw_error
start_threads(struct gw_mqtt_door *door, struct gw_why *why)
{
	int rc;

	door->passwords = gw_mqtt_passwords_open(door->mqtt->door_fd, door->mqtt->password_checks_of_one, door->mqtt->password_checks_of_address);
	if (door->passwords == NULL)
		return gw_fail(why, GW_E_SYSTEM, "no thread for passwords");
	rc = pthread_create(&door->thread, NULL, run, door);
	if (rc != 0) {
		gw_mqtt_passwords_stop(door->passwords);
		return gw_fail(why, GW_E_SYSTEM, "no thread: %s", strerror(rc));
	}
	pthread_setname_np(door->thread, "vg-mqtt-door");
	return GW_OK;
}

enum gw_error
gw_mqtt_door_start(struct gw_mqtt *mqtt, struct gw_why *why)
{
	struct gw_mqtt_door *door = calloc(1, sizeof(*door));
	enum gw_error error;

	if (door == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	door->mqtt = mqtt;
	door->epoll = door->listener = -1;
	error = open_door(door, why);
	if (error == GW_OK)
		error = start_threads(door, why);
	if (error != GW_OK) {
		free_door(door);
		return error;
	}
	mqtt->door = door;
	return GW_OK;
}

void
gw_mqtt_door_join(struct gw_mqtt *mqtt)
{
	if (mqtt->door == NULL)
		return;
	pthread_join(mqtt->door->thread, NULL);
	free_door(mqtt->door);
	mqtt->door = NULL;
}
