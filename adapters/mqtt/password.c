// SPDX-License-Identifier: Apache-2.0
// Passwords are checked on a thread of their own, one after the other: Argon2id costs tens of milliseconds and megabytes, and nobody but those who
// come with a password waits for it.
#include "adapters/mqtt/admit.h"
#include "adapters/mqtt/password.h"

#include <stdlib.h>

struct gw_mqtt_passwords {
	pthread_t thread;
	int wake_fd;
	unsigned of_one;
	pthread_mutex_t lock; // guards all below, and conn->abandoned
	pthread_cond_t wake;
	struct gw_mqtt_conn *waiting, **waiting_end, *checked;
	bool closing;
};

static struct gw_mqtt_conn *
next_to_check(struct gw_mqtt_passwords *p)
{
	struct gw_mqtt_conn *conn;

	while (p->waiting == NULL && !p->closing)
		pthread_cond_wait(&p->wake, &p->lock);
	if (p->closing)
		return NULL;
	conn = p->waiting;
	p->waiting = conn->inbox_next;
	if (p->waiting == NULL)
		p->waiting_end = &p->waiting;
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
gw_mqtt_passwords_open(int wake_fd, unsigned of_one)
{
	struct gw_mqtt_passwords *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->wake_fd = wake_fd;
	p->of_one = of_one;
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

// Guesses at one user's password do not fill the queue in which the others stand.
bool
gw_mqtt_passwords_ask(struct gw_mqtt_passwords *p, struct gw_mqtt_conn *conn)
{
	unsigned same = 0;

	pthread_mutex_lock(&p->lock);
	for (const struct gw_mqtt_conn *other = p->waiting; other != NULL; other = other->inbox_next)
		same += other->user_hash == conn->user_hash && !other->abandoned;
	if (same < p->of_one) {
		conn->inbox_next = NULL;
		*p->waiting_end = conn;
		p->waiting_end = &conn->inbox_next;
		pthread_cond_signal(&p->wake);
	}
	pthread_mutex_unlock(&p->lock);
	return same < p->of_one;
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
