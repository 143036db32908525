/*
 * A USB reader that a test plugs in and unplugs. Preloaded into the service, it replaces libudev: each '+' and '-' in the
 * pipe EVENTS plugs in and unplugs a device. It is also the driver of that device: the one for virtual readers, at PORT.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A handle that the service never dereferences. */
static char thing;
static int pipe_of_events = -1;
static char event;

void *udev_new(void) { return &thing; }
void *udev_unref(void *udev) { (void)udev; return NULL; }

/* No device is present at the start. */
void *udev_enumerate_new(void *udev) { (void)udev; return &thing; }
int udev_enumerate_add_match_subsystem(void *list, const char *name) { (void)list; (void)name; return 0; }
int udev_enumerate_scan_devices(void *list) { (void)list; return 0; }
void *udev_enumerate_get_list_entry(void *list) { (void)list; return NULL; }
void *udev_enumerate_unref(void *list) { (void)list; return NULL; }
const char *udev_list_entry_get_name(void *entry) { (void)entry; return NULL; }
void *udev_list_entry_get_next(void *entry) { (void)entry; return NULL; }
void *udev_device_new_from_syspath(void *udev, const char *path) { (void)udev; (void)path; return NULL; }

void *udev_monitor_new_from_netlink(void *udev, const char *name) {
    (void)udev;
    (void)name;
    /* For writing too, so that reading never reaches its end. */
    pipe_of_events = open(EVENTS, O_RDWR | O_CLOEXEC);
    return pipe_of_events < 0 ? NULL : &thing;
}
int udev_monitor_filter_add_match_subsystem_devtype(void *monitor, const char *subsystem, const char *type) {
    (void)monitor;
    (void)subsystem;
    (void)type;
    return 0;
}
int udev_monitor_enable_receiving(void *monitor) { (void)monitor; return 0; }
int udev_monitor_get_fd(void *monitor) { (void)monitor; return pipe_of_events; }
void *udev_monitor_receive_device(void *monitor) {
    (void)monitor;
    return read(pipe_of_events, &event, 1) == 1 ? &thing : NULL;
}

void *udev_device_get_parent_with_subsystem_devtype(void *device, const char *subsystem, const char *type) {
    (void)subsystem;
    (void)type;
    return device;
}
const char *udev_device_get_action(void *device) { (void)device; return event == '+' ? "add" : "remove"; }
const char *udev_device_get_devnode(void *device) { (void)device; return "/dev/bus/usb/001/002"; }
const char *udev_device_get_sysname(void *device) { (void)device; return "1-1:1.0"; }
const char *udev_device_get_sysattr_value(void *device, const char *name) {
    (void)device;
    if (strcmp(name, "idVendor") == 0 || strcmp(name, "idProduct") == 0) return "1234";
    return strcmp(name, "bInterfaceNumber") == 0 ? "00" : NULL;
}
void *udev_device_unref(void *device) { (void)device; return NULL; }

long IFDHCreateChannelByName(unsigned long reader, char *name) {
    long (*create)(unsigned long, char *) = (long (*)(unsigned long, char *))dlsym(RTLD_NEXT, "IFDHCreateChannelByName");
    char port[32];
    (void)name;
    snprintf(port, sizeof port, "/dev/null:%d", PORT);
    return create(reader, port);
}
