// SPDX-License-Identifier: Apache-2.0
// Passwords are checked on a thread of their own, one after the other: Argon2id costs tens of milliseconds and megabytes, and nobody but those who
// come with a password waits for it. Addresses take turns: whoever guesses at one holds up others by one check. What was right before in this process is known without
// (admit.c) and does not stand in this queue.
#include "adapters/mqtt/admit.h"
#include "adapters/mqtt/password.h"

#include <stdlib.h>

enum { SERVED = 64 };

struct gw_mqtt_passwords {
	pthread_t thread;
	int wake_fd;
	unsigned of_one, of_address;
	pthread_mutex_t lock; // guards all below, and conn->abandoned
	pthread_cond_t wake;
	struct gw_mqtt_conn *waiting, **waiting_end, *checked;
	uint64_t served[SERVED]; // addresses of the last checks
	unsigned served_next;
	bool closing;
};

// How many checks ago one of this address was done.
static unsigned
served_ago(const struct gw_mqtt_passwords *p, uint64_t from)
{
	for (unsigned ago = 1; ago <= SERVED; ago++)
		if (p->served[(p->served_next + SERVED - ago) % SERVED] == from)
			return ago;
	return SERVED + 1;
}

// The oldest of the address that was served longest ago.
static struct gw_mqtt_conn **
choose(struct gw_mqtt_passwords *p)
{
	struct gw_mqtt_conn **best = &p->waiting;
	unsigned most = served_ago(p, p->waiting->from);

	for (struct gw_mqtt_conn **at = &p->waiting->inbox_next; *at != NULL && most <= SERVED; at = &(*at)->inbox_next) {
		unsigned ago = (*at)->from == (*best)->from ? 0 : served_ago(p, (*at)->from);

		if (ago > most) {
			best = at;
			most = ago;
		}
	}
	return best;
}

static struct gw_mqtt_conn *
next_to_check(struct gw_mqtt_passwords *p)
{
	struct gw_mqtt_conn *conn, **at;

	while (p->waiting == NULL && !p->closing)
		pthread_cond_wait(&p->wake, &p->lock);
	if (p->closing)
		return NULL;
	at = choose(p);
	conn = *at;
	*at = conn->inbox_next;
	if (*at == NULL)
		p->waiting_end = at;
	p->served[p->served_next++ % SERVED] = conn->from;
	return conn;
}

static void *
run(void *arg)
{
	struct gw_mqtt_passwords *p = arg;
	struct gw_mqtt_conn *conn;

	pthread_mutex_lock(&p->lock);
	while ((conn = next_to_check(p)) != NULL) {
		if (!conn->abandoned) {
			pthread_mutex_unlock(&p->lock);
			conn->password_right = gw_mqtt_check_password(conn);
			conn->checked = true;
			pthread_mutex_lock(&p->lock);
		}
		conn->inbox_next = p->checked;
		p->checked = conn;
		gw_mqtt_wake(p->wake_fd);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct gw_mqtt_passwords *
gw_mqtt_passwords_open(int wake_fd, unsigned of_one, unsigned of_address)
{
	struct gw_mqtt_passwords *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->wake_fd = wake_fd;
	p->of_one = of_one;
	p->of_address = of_address;
	p->waiting_end = &p->waiting;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	if (pthread_create(&p->thread, NULL, run, p) != 0) {
		pthread_cond_destroy(&p->wake);
		pthread_mutex_destroy(&p->lock);
		free(p);
		return NULL;
	}
	pthread_setname_np(p->thread, "vg-mqtt-pass");
	return p;
}

// Guesses at one user's password do not fill the queue in which the others stand; those from elsewhere do not keep the user out.
bool
gw_mqtt_passwords_ask(struct gw_mqtt_passwords *p, struct gw_mqtt_conn *conn)
{
	unsigned same = 0, of_address = 0;
	bool room;

	pthread_mutex_lock(&p->lock);
	for (const struct gw_mqtt_conn *other = p->waiting; other != NULL; other = other->inbox_next)
		if (other->from == conn->from && !other->abandoned) {
			same += other->user_hash == conn->user_hash;
			of_address++;
		}
	if ((room = same < p->of_one && of_address < p->of_address)) {
		conn->inbox_next = NULL;
		*p->waiting_end = conn;
		p->waiting_end = &conn->inbox_next;
		pthread_cond_signal(&p->wake);
	}
	pthread_mutex_unlock(&p->lock);
	return room;
}

void
gw_mqtt_passwords_abandon(struct gw_mqtt_passwords *p, struct gw_mqtt_conn *conn)
{
	pthread_mutex_lock(&p->lock);
	conn->abandoned = true;
	pthread_mutex_unlock(&p->lock);
}

struct gw_mqtt_conn *
gw_mqtt_passwords_take(struct gw_mqtt_passwords *p)
{
	struct gw_mqtt_conn *list;

	pthread_mutex_lock(&p->lock);
	list = p->checked;
	p->checked = NULL;
	pthread_mutex_unlock(&p->lock);
	return list;
}

void
gw_mqtt_passwords_stop(struct gw_mqtt_passwords *p)
{
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	*p->waiting_end = p->checked;
	p->checked = p->waiting;
	p->waiting = NULL;
	p->waiting_end = &p->waiting;
}

void
gw_mqtt_passwords_close(struct gw_mqtt_passwords *p)
{
	if (p == NULL)
		return;
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
