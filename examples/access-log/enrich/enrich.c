/*
 * Classifies a request: which kind of route its path is, and which kind of program asked.
 *
 * A question is a path, a newline and a user agent; the answer is the two classes with a newline between.
 * A route is the first segment of the path, and `:id` where the second is a number: `/products/17?page=2` is
 * `/products/:id`. An agent is a `bot` if it says so, a `browser` if it looks like one, and a `tool` otherwise.
 */
#include "actor.h"

#include <stdlib.h>
#include <string.h>

/* The log chooses the paths, so what is kept of one needs a bound. */
#define SEGMENT_BYTES_MAX 80

typedef struct {
    const uint8_t *bytes;
    size_t len;
} text;

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static uint8_t lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool starts_with(text whole, const char *word) {
    size_t len = strlen(word);
    return whole.len >= len && memcmp(whole.bytes, word, len) == 0;
}

/* Looks for a lower-case word, whatever the case of the text. */
static bool contains(text whole, const char *word) {
    size_t len = strlen(word);
    for (size_t start = 0; start + len <= whole.len; start++) {
        size_t same = 0;
        while (same < len && lower(whole.bytes[start + same]) == (uint8_t)word[same]) same++;
        if (same == len) return true;
    }
    return false;
}

static const char *agent_class(text agent) {
    static const char *const bots[] = {"bot", "crawl", "spider", "slurp"};
    for (size_t i = 0; i < sizeof bots / sizeof *bots; i++) {
        if (contains(agent, bots[i])) return "bot";
    }
    return starts_with(agent, "Mozilla/") || starts_with(agent, "Opera/") ? "browser" : "tool";
}

/* The end of the segment that starts at `start`, which is behind its slash. */
static size_t segment_end(text path, size_t start) {
    size_t end = start;
    while (end < path.len && path.bytes[end] != '/' && path.bytes[end] != '?') end++;
    return end;
}

static bool is_number(text path, size_t start, size_t end) {
    if (start == end) return false;
    while (start < end && is_digit(path.bytes[start])) start++;
    return start == end;
}

/* Writes the route to `out`, which has room for SEGMENT_BYTES_MAX + 8 bytes, and returns its length. */
static size_t route_class(text path, uint8_t *out) {
    size_t start = path.len > 0 && path.bytes[0] == '/' ? 1 : 0;
    size_t end = segment_end(path, start);
    size_t len = 0;
    out[len++] = '/';
    if (is_number(path, start, end)) {
        memcpy(out + len, ":id", 3);
        return len + 3;
    }
    size_t kept = end - start;
    if (kept > SEGMENT_BYTES_MAX) {
        kept = SEGMENT_BYTES_MAX;
        /* Not in the middle of a character. */
        while (kept > 0 && (path.bytes[start + kept] & 0xc0) == 0x80) kept--;
    }
    memcpy(out + len, path.bytes + start, kept);
    len += kept;
    if (end < path.len && path.bytes[end] == '/') {
        if (is_number(path, end + 1, segment_end(path, end + 1))) {
            memcpy(out + len, "/:id", 4);
            len += 4;
        }
    }
    return len;
}

bool exports_airssys_core_lifecycle_init(actor_list_tuple2_string_string_t *config,
                                         exports_airssys_core_lifecycle_failure_t *err) {
    (void)err;
    actor_list_tuple2_string_string_free(config);
    return true;
}

bool exports_airssys_core_lifecycle_handle_message(exports_airssys_core_lifecycle_message_t *message,
                                                   exports_airssys_core_lifecycle_option_payload_t *ret,
                                                   exports_airssys_core_lifecycle_failure_t *err) {
    text question = {message->payload.bytes.ptr, message->payload.bytes.len};
    const uint8_t *newline = question.len > 0 ? memchr(question.bytes, '\n', question.len) : NULL;
    if (newline == NULL) {
        err->tag = AIRSSYS_CORE_TYPES_FAILURE_REJECTED;
        actor_string_dup(&err->val.rejected, "a question is a path, a newline and a user agent");
        exports_airssys_core_lifecycle_message_free(message);
        return false;
    }
    size_t path_len = (size_t)(newline - question.bytes);
    text path = {question.bytes, path_len};
    text agent = {newline + 1, question.len - path_len - 1};

    const char *class = agent_class(agent);
    size_t class_len = strlen(class);
    uint8_t *answer = malloc(SEGMENT_BYTES_MAX + 8 + 1 + class_len);
    if (answer == NULL) abort();
    size_t len = route_class(path, answer);
    answer[len++] = '\n';
    memcpy(answer + len, class, class_len);

    ret->is_some = true;
    ret->val.codec = message->payload.codec;
    ret->val.bytes.ptr = answer;
    ret->val.bytes.len = len + class_len;
    exports_airssys_core_lifecycle_message_free(message);
    return true;
}

bool exports_airssys_core_lifecycle_handle_callback(exports_airssys_core_lifecycle_callback_t *callback,
                                                    exports_airssys_core_lifecycle_failure_t *err) {
    (void)err;
    exports_airssys_core_lifecycle_callback_free(callback);
    return true;
}

void exports_airssys_core_lifecycle_health(exports_airssys_core_lifecycle_health_state_t *ret) {
    ret->tag = AIRSSYS_CORE_TYPES_HEALTH_HEALTHY;
}

void exports_airssys_core_lifecycle_metadata(exports_airssys_core_lifecycle_component_metadata_t *ret) {
    actor_string_dup(&ret->name, "enrich");
    actor_string_dup(&ret->version, "0.1.0");
    actor_string_dup(&ret->description, "Classifies routes and user agents.");
}

void exports_airssys_core_lifecycle_shutdown(exports_airssys_core_lifecycle_stop_reason_t reason) {
    (void)reason;
}
