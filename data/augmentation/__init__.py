"""What is done to a clip before it is trained on: noise, rooms, codecs, speed."""
