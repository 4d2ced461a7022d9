// SPDX-License-Identifier: Apache-2.0
// The registry: devices, their credentials, and for whom each may speak. Rows "device/<id>" in the journal (JSON, versioned);
// in memory an immutable snapshot that is swapped as a whole, so that a change applies at once and no reader ever waits.
#ifndef GW_REGISTRY_H
#define GW_REGISTRY_H

#include "gateway/device_clocks.h"
#include "gateway/error.h"
#include "gateway/intake.h"
#include "gateway/record.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GW_PSK_MAX 32        // bytes of a pre-shared key
#define GW_NAME_MAX 64

// One device or concentrator. Constant once in a snapshot. Texts are terminated UTF-8, empty where not told.
struct gw_device {
	char id[GW_ID_MAX + 1];         // also its name as a principal
	char profile[GW_NAME_MAX + 1];  // name of its profile; empty for a concentrator that only speaks for others
	bool disabled;
	bool test;                      // simulated or commissioning: readings are marked and never reach a production destination
	char bed[GW_NAME_MAX + 1], ward[GW_NAME_MAX + 1];
	uint64_t eui64;                 // 0: none
	char manufacturer[GW_NAME_MAX + 1], model[GW_NAME_MAX + 1], serial[GW_NAME_MAX + 1], asset[GW_NAME_MAX + 1];
	uint8_t mac[6];
	bool has_mac;
	// Credentials; each may be absent.
	char psk_identity[GW_NAME_MAX + 1];
	uint8_t psk[GW_PSK_MAX];
	uint8_t psk_len;                // 0: none
	// The key that takes its place, under an identity of its own (TLS cannot try two keys for one). Both are good until a date, or until this one was used.
	char next_identity[GW_NAME_MAX + 1];
	uint8_t next_psk[GW_PSK_MAX];
	uint8_t next_psk_len;           // 0: none
	int64_t psk_until_us;           // the old one goes then; 0: no date
	bool psk_until_used;            // or when the new one was used
	char subject[GW_NAME_MAX + 1];  // certificate's subject common name or DNS name in SAN; empty: none
	char user[GW_NAME_MAX + 1];
	char password_hash[128];        // libsodium crypto_pwhash string (Argon2id); empty: none
	// Devices for which it may speak beside itself.
	char (*speaks_for)[GW_ID_MAX + 1];
	size_t speaks_for_count;
	int64_t created_us, changed_us;
};

struct gw_registry;

// Reads all rows. intake is where changes are committed.
enum gw_error gw_registry_open(struct gw_journal *journal, struct gw_intake *intake, struct gw_registry **registry, struct gw_why *why);
void gw_registry_close(struct gw_registry *registry);

// Figures of the devices' clocks; live as long as the registry. Any thread.
struct gw_device_clocks *gw_registry_clocks(struct gw_registry *registry);

// A snapshot: hold it while pointers into it are used, give it back soon. Cheap (a reference count).
struct gw_snapshot;
const struct gw_snapshot *gw_snapshot_get(struct gw_registry *registry);
void gw_snapshot_put(const struct gw_snapshot *snapshot);
// Rises with every change; reading it is one atomic load. A thread that keeps a snapshot compares and takes a new one.
uint64_t gw_registry_generation(const struct gw_registry *registry);
uint64_t gw_snapshot_generation(const struct gw_snapshot *snapshot);

const struct gw_device *gw_snapshot_device(const struct gw_snapshot *snapshot, struct gw_span id);
const struct gw_device *gw_snapshot_at(const struct gw_snapshot *snapshot, size_t i); // sorted by id; NULL past the end
// Who a credential belongs to: NULL where nobody (a disabled device is given: the caller refuses with GW_E_DISABLED).
const struct gw_device *gw_snapshot_by_psk(const struct gw_snapshot *snapshot, struct gw_span identity); // either of a device's two
const struct gw_device *gw_snapshot_by_subject(const struct gw_snapshot *snapshot, struct gw_span subject);
const struct gw_device *gw_snapshot_by_user(const struct gw_snapshot *snapshot, struct gw_span user);
// Whether principal may speak for device: itself, or one of its list; false for unknown or disabled ones.
bool gw_snapshot_may_speak(const struct gw_device *principal, const struct gw_device *device);

// The key of one of a device's identities, as long as it is good; empty otherwise. Borrowed from the device.
struct gw_span gw_device_psk(const struct gw_device *device, struct gw_span identity);
// What a connection proved, as a number to be kept with it: of the PSK behind an identity, of a certificate's subject, of user and password. 0: no such credential.
uint64_t gw_device_proof(const struct gw_device *device, enum gw_auth auth, struct gw_span name);
// Whether a device still has the credential that was proved: asked of live connections when the registry changed.
bool gw_device_proves(const struct gw_device *device, enum gw_auth auth, uint64_t proof);

// A device of a snapshot proved this PSK identity. Ends a rotation that waits for it, soon and on another thread. Any thread; costs nothing otherwise.
void gw_registry_used(struct gw_registry *registry, const struct gw_device *device, struct gw_span identity);
// Readable when there may be something to tend: a rotation's new key was used, or the registry changed. Reading it resets it (eventfd).
int gw_registry_tend_fd(const struct gw_registry *registry);
// Ends rotations that are due; *next_us is when the next one will be (INT64_MAX: none has a date). Waits for commits: whoever tends, one thread.
enum gw_error gw_registry_tend(struct gw_registry *registry, int64_t *next_us, struct gw_why *why);

// Checks a password. Costs milliseconds and megabytes of Argon2id the first time, microseconds when the same password was right before
// in this process (a keyed hash of it is remembered). Thread: any, but not one that serves others.
bool gw_registry_password(struct gw_registry *registry, const struct gw_device *device, struct gw_span password);
// Whether it is one that was right before in this process: microseconds. Any thread.
bool gw_registry_password_known(struct gw_registry *registry, const struct gw_device *device, struct gw_span password);
// Takes as long as checking a password, of nobody.
void gw_password_waste(struct gw_span password);

// Every change is one of these: one commit that also records who changed what (GW_RECORD_COMMAND).
enum gw_change_kind { GW_CHANGE_ADD, GW_CHANGE_ENABLE, GW_CHANGE_DISABLE, GW_CHANGE_REMOVE, GW_CHANGE_ROTATE, GW_CHANGE_ROTATED, GW_CHANGE_REVOKE, GW_CHANGE_ISSUE,
	GW_CHANGE_CERTIFICATE };
// REVOKE disables; CERTIFICATE changes nothing but has doors look at the device anew: one of its certificates was revoked.
// A new PSK beside the old one. at_once: in its place.
struct gw_rotation {
	char identity[GW_NAME_MAX + 1]; // empty: one is made ("bed-12" -> "bed-12.2" -> "bed-12.3"), and written here
	uint8_t psk[GW_PSK_MAX];
	uint8_t psk_len;
	int64_t until_us;
	bool until_used, at_once;
};
struct gw_change {
	enum gw_change_kind kind;
	struct gw_rotation *rotation;    // ROTATE
	const char *subject;             // ISSUE: the certificate's common name, where the device has none yet; ROTATED: the identity that goes
	const char *words;               // more for the record, after what was done: "a certificate was revoked"; NULL: none
	// What else belongs into the same commit; may be NULL.
	enum gw_error (*with)(void *arg, struct gw_ticket *ticket);
	void *arg;
	const struct gw_device *devices; // ADD: count of them, all or nothing; borrowed for the call
	size_t count;
	struct gw_span id;               // the others
	const char *who;                 // "uid 1000 (alice)"; NULL: the program itself
};
// Durable when it returns GW_OK, visible at once. Waits for the commit: not on a thread that serves devices. Any thread; one change at a time.
enum gw_error gw_registry_change(struct gw_registry *registry, const struct gw_change *change, struct gw_why *why);

// The same by name. Changes, durable when they return GW_OK, visible at once. add refuses an id, identity, subject or user that exists (GW_E_EXISTS).
enum gw_error gw_registry_add(struct gw_registry *registry, const struct gw_device *device, struct gw_why *why);
// Many in one commit, all or nothing.
enum gw_error gw_registry_add_many(struct gw_registry *registry, const struct gw_device *devices, size_t count, struct gw_why *why);
enum gw_error gw_registry_set_disabled(struct gw_registry *registry, struct gw_span id, bool disabled, struct gw_why *why);
enum gw_error gw_registry_remove(struct gw_registry *registry, struct gw_span id, struct gw_why *why);
// Argon2id of a password for gw_device.password_hash.
enum gw_error gw_registry_hash_password(struct gw_span password, char out[128]);

// ---- One device in the caller's storage (gateway/registry_device.c) ----

// Sets a field from text, as rows of the store, commands and CSV files name them: "id", "profile", "bed", "ward", "manufacturer", "model",
// "serial", "asset", "psk_identity", "psk" (hex), "next_psk_identity", "next_psk", "cert_subject", "user", "password_hash", "eui64" (16 hex digits), "mac" (aa:bb:cc:dd:ee:ff),
// "speaks_for" (ids, comma between), "test", "disabled" (true, false). GW_E_NOT_FOUND for another name, GW_E_ARGUMENT with words for a bad value.
enum gw_error gw_device_set(struct gw_device *device, const char *field, struct gw_span value, struct gw_why *why);
// The field as such text; "" where it is empty. Secrets too: the caller leaves them out. out holds what fits; returns out.
const char *gw_device_get(const struct gw_device *device, const char *field, char *out, size_t cap);
// Credentials' names that are left empty become the id; then all fields are checked together.
enum gw_error gw_device_complete(struct gw_device *device, struct gw_why *why);
void gw_device_fini(struct gw_device *device); // wipes secrets, frees speaks_for
// 1..64 bytes of printable UTF-8 without '/', '+', '#', ',' and white space.
enum gw_error gw_device_id_check(struct gw_span id, struct gw_why *why);

#endif
