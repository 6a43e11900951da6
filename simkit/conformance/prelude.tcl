# Runs before a test script: scripts see the files of the depot where they look for files of the operating system, and
# what the depot cannot give is said (`@simkit need REASON`) before it goes wrong. `::simkit::depot` and its subcommands
# are commands of the process that runs the script.

namespace eval ::simkit {
  variable watched {}
  # Procedures and commands, with what they need.
  variable needs {
    crashsql              {a second process that crashes}
    launch_testfixture    {a second process}
    sqlite3_crashparams   {SQLite's simulated crashes of its own file layer}
    sqlite3_crash_enable  {SQLite's simulated crashes of its own file layer}
    sqlite3_simulate_device {SQLite's simulated devices}
    test_syscall          {the system calls of SQLite's own file layer}
    file_control_test              {a file control of SQLite's own file layer}
    file_control_lasterrno_test    {a file control of SQLite's own file layer}
    file_control_lockproxy_test    {a file control of SQLite's own file layer}
    file_control_chunksize_test    {a file control of SQLite's own file layer}
    file_control_sizehint_test     {a file control of SQLite's own file layer}
    file_control_persist_wal       {a write-ahead log}
    file_control_powersafe_overwrite {a file control of SQLite's own file layer}
    file_control_vfsname           {a file control of SQLite's own file layer}
    file_control_tempfilename      {a file control of SQLite's own file layer}
    file_control_external_reader   {a write-ahead log}
  }
  # Variables of SQLite's own file layer.
  variable counters {
    sqlite_io_error_pending    {I/O errors simulated in SQLite's own file layer}
    sqlite_io_error_persist    {I/O errors simulated in SQLite's own file layer}
    sqlite_diskfull_pending    {a full disk simulated in SQLite's own file layer}
    sqlite_current_time        {the clock of SQLite's own file layer}
    sqlite_open_file_count     {the number of open files of SQLite's own file layer}
    sqlite_sync_count          {the number of syncs of SQLite's own file layer}
    sqlite_fullsync_count      {the number of syncs of SQLite's own file layer}
  }
}

proc ::simkit::say {text} {
  chan puts stdout "\n@simkit [string map {\n { }} $text]"
  chan flush stdout
}
proc ::simkit::need {reason args} { say "need $reason" }

proc ::simkit::watch {} {
  variable watched
  variable needs
  foreach {name reason} $needs {
    if {[dict exists $watched $name] || [info commands ::$name] eq ""} continue
    dict set watched $name 1
    trace add execution ::$name enter [list ::simkit::need $reason]
  }
  if {![dict exists $watched fail_test] && [info commands ::fail_test] ne ""} {
    dict set watched fail_test 1
    trace add execution ::fail_test enter ::simkit::failed
    trace add execution ::incr_ntest enter ::simkit::tell_needs
  }
}
proc ::simkit::tell_needs {args} {
  foreach reason [depot needs] {need $reason}
}
proc ::simkit::failed {command operation} {
  tell_needs
  say "failed [lindex $command 1]"
}

proc ::simkit::watch_counters {} {
  variable counters
  foreach {name reason} $counters {
    trace add variable ::$name {read write} [list ::simkit::need $reason]
  }
}

# Python takes `exit` away from its Tcl.
set ::simkit::exited 0
proc exit {{code 0}} { set ::simkit::exited 1; return -code error "exit $code" }

rename source ::simkit::source
proc source {args} {
  set code [catch {uplevel 1 [list ::simkit::source {*}$args]} result options]
  ::simkit::watch
  dict incr options -level
  return -options $options $result
}

# SQLite's own VFS is the default again after each initialisation.
foreach name {sqlite3_initialize} {
  rename $name ::simkit::$name
  proc $name {args} "
    set code \[catch {uplevel 1 \[list ::simkit::$name {*}\$args\]} result options\]
    ::simkit::depot default
    dict incr options -level
    return -options \$options \$result
  "
}
rename sqlite3_shutdown ::simkit::sqlite3_shutdown
proc sqlite3_shutdown {args} {
  set ::simkit::is_shut_down 1
  uplevel 1 [list ::simkit::sqlite3_shutdown {*}$args]
}
set ::simkit::is_shut_down 0

# Scripts may ask for a VFS by its name. Files that it is to open are handed to it.
proc ::simkit::check_vfs {arguments} {
  set named [lsearch -exact $arguments -vfs]
  if {![string match unix* [lindex $arguments $named+1]] && ![string match *vfs=unix* $arguments]} return
  need {a VFS of SQLite's own by name}
  if {[holds [lindex $arguments 1]]} {depot release [path [lindex $arguments 1]]}
}

foreach name {sqlite3 sqlite3_open sqlite3_open_v2 sqlite3_open16} {
  rename $name ::simkit::$name
  proc $name {args} "
    if {\$::simkit::is_shut_down && \[string index \[lindex \$args 0\] 0\] ne {-}} {
      set ::simkit::is_shut_down 0
      sqlite3_initialize
    }
    ::simkit::check_vfs \$args
    uplevel 1 \[list ::simkit::$name {*}\$args\]
  "
}

# Files

proc ::simkit::path {name} { ::simkit::file normalize $name }
proc ::simkit::holds {name} { ::simkit::depot holds [path $name] }

rename file ::simkit::file
proc file {subcommand args} {
  switch -- $subcommand {
    exists - isfile - readable - writable - owned {
      if {[::simkit::holds [lindex $args 0]]} {return 1}
    }
    size {
      if {[::simkit::holds [lindex $args 0]]} {return [::simkit::depot size [::simkit::path [lindex $args 0]]]}
    }
    delete {
      foreach name $args {
        if {![string match -* $name] && [::simkit::holds $name]} {::simkit::depot delete [::simkit::path $name]}
      }
    }
    copy - rename {
      set force [expr {"-force" in $args}]
      lassign [lrange $args end-1 end] from to
      if {[::simkit::file isdirectory $to]} {set to [::simkit::file join $to [::simkit::file tail $from]]}
      if {[::simkit::holds $from]} {
        if {!$force && [file exists $to]} {
          return -code error "error ${subcommand}ing \"$from\" to \"$to\": file already exists"
        }
        ::simkit::file delete -force -- $to
        ::simkit::depot copy [::simkit::path $from] [::simkit::path $to]
        if {$subcommand eq "rename"} {
          ::simkit::depot delete [::simkit::path $from]
          ::simkit::tell_needs
        }
        return
      }
      if {$force && [::simkit::file exists $from] && [::simkit::holds $to]} {
        ::simkit::depot delete [::simkit::path $to]
      }
    }
    link {::simkit::need {links of the operating system}}
    mtime - atime - attributes - stat - lstat {
      if {[llength $args] && [::simkit::holds [lindex $args 0]]} {
        ::simkit::need {the attributes of a file of the operating system}
      }
    }
  }
  uplevel 1 [list ::simkit::file $subcommand {*}$args]
}

rename glob ::simkit::glob
proc glob {args} {
  set found [uplevel 1 [list ::simkit::glob -nocomplain {*}$args]]
  foreach pattern $args {
    if {[string match -* $pattern]} continue
    foreach name [::simkit::depot names] {
      if {[string match [::simkit::path $pattern] $name]} {
        lappend found [expr {[::simkit::file pathtype $pattern] eq "absolute" ? $name : [::simkit::file tail $name]}]
      }
    }
  }
  if {[llength $found] == 0 && "-nocomplain" ni $args} {
    return -code error "no files matched glob pattern \"$args\""
  }
  return [lsort -unique $found]
}

rename open ::simkit::open
proc open {name args} {
  if {[string index $name 0] eq "|"} {
    ::simkit::need {a second process}
  } elseif {[::simkit::holds $name]} {
    if {[lindex $args 0] in {{} r rb RDONLY}} {
      return [uplevel 1 [list ::simkit::open [::simkit::depot export [::simkit::path $name]] {*}$args]]
    }
    if {![::simkit::depot release [::simkit::path $name]]} {
      ::simkit::need {writing into a file behind SQLite's back}
    }
  }
  uplevel 1 [list ::simkit::open $name {*}$args]
}

rename exec ::simkit::exec
proc exec {args} {
  if {[lindex $args 0] ne "hostname"} {
    ::simkit::need {another program}
    foreach name [::simkit::depot names] {::simkit::depot release $name}
  }
  uplevel 1 [list ::simkit::exec {*}$args]
}

foreach name {hexio_read md5file} {
  rename $name ::simkit::$name
  proc $name {file args} "
    if {\[::simkit::holds \$file\]} {set file \[::simkit::depot export \[::simkit::path \$file\]\]}
    ::simkit::$name \$file {*}\$args
  "
}
rename hexio_write ::simkit::hexio_write
proc hexio_write {file offset hexadecimal} {
  if {![::simkit::holds $file]} {return [::simkit::hexio_write $file $offset $hexadecimal]}
  if {![::simkit::depot patch [::simkit::path $file] $offset $hexadecimal]} {
    ::simkit::need {writing into a file behind SQLite's back}
  }
  expr {[string length $hexadecimal] / 2}
}

# Test scripts run the same cases with several processes first where they may; this is how they are told not to.
set ::G(valgrind) 1
::simkit::watch
::simkit::watch_counters
