# The Ruby half of a pair that shares one Redis: see README.md for the two commands.
#
# Its worker greets; what it pushes for "Resize" is done in Python.

require "sidekiq"

class Greet
  include Sidekiq::Worker

  def perform(name, from)
    puts "ruby: hello #{name}, from #{from}"
  end
end

# Loaded by `sidekiq`, this file only brings the worker; run as a program, it pushes.
if $PROGRAM_NAME == __FILE__
  Sidekiq::Client.push("class" => "Resize", "queue" => "images", "args" => ["cat.jpg", 640], "retry" => 5)
  Sidekiq::Client.push("class" => "Resize", "queue" => "images", "args" => ["dog.jpg", 0], "retry" => false)
end
