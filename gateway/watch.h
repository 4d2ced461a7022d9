// SPDX-License-Identifier: Apache-2.0
// Watches files of credentials, however they are changed: written in place, replaced by a rename, or behind symbolic links that are swapped (certbot's live/,
// Kubernetes' ..data). The folders of every file and of every link on the way to it are watched (inotify); an event is only a hint: once it has been quiet for
// a moment, what the names lead to is looked at again, and who has asked for a file that is another one now is told. Where events do not come (a network's file
// system, a folder that was not there) it is looked at twice a minute.
//
// One thread: main's.
#ifndef GW_WATCH_H
#define GW_WATCH_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A file's name, or a folder's, which stands for all files in it.
typedef void gw_file_fn(void *arg, const char *path);

#define GW_WATCH_FILES_MAX 256
#define GW_WATCH_OWNERS_MAX 64

struct gw_watch;

enum gw_error gw_watch_open(struct gw_watch **watch, struct gw_why *why);
void gw_watch_close(struct gw_watch *watch); // NULL does nothing
// Readable when something happened.
int gw_watch_fd(const struct gw_watch *watch);

// Begins the list of files anew; what is added next is watched from then on. A file that stood in the list before keeps what was last seen of it.
void gw_watch_clear(struct gw_watch *watch);
// owner: below GW_WATCH_OWNERS_MAX; the same file may be several owners'. GW_E_TOO_LARGE: too many.
enum gw_error gw_watch_add(struct gw_watch *watch, unsigned owner, const char *path);
// After the last of them.
void gw_watch_begin(struct gw_watch *watch);
// Looks at once: whose files are other ones than when they were looked at last.
uint64_t gw_watch_seen(struct gw_watch *watch);

// In ms, how long at most to wait before gw_watch_take(): never -1.
int gw_watch_wait_ms(const struct gw_watch *watch);
// Reads what the descriptor has, and once it is quiet says whose files are other ones: a bit for each owner; 0: none.
uint64_t gw_watch_take(struct gw_watch *watch);

#endif
